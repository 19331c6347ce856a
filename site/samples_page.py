"""Samples: one image and its text, any methods and encoders side by side, and which patch goes with which token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from streamlit.components.v1 import declare_component

from benchmark.explanations import Explanation
from benchmark.site import controls, samples_arrays, samples_pictures, samples_store, theme
from benchmark.site.access import Store, Version
from benchmark.site.context import Context
from benchmark.site.samples_arrays import Chosen, Layout
from benchmark.site.samples_pictures import Found
from benchmark.site.samples_sections import Panel, show_costs, show_curves, show_downloads, show_scores, show_surrogates
from benchmark.site.samples_store import ORDERS, Listed, Order
from benchmark.site.wording import count, number, plain

MOST_PANELS = 12
NO_MAP = "its map is not kept here; a snapshot may hold scores alone"
PREFERRED = ("fixlip", "exclip", "grad_eclip", "shapley")  # shown at first: two with patch-token scores, two without
SCALES = {"shared": "one scale for all in cosine similarity", "own": "each map its own scale"}


@cache
def _component() -> Any:
    """Declare the frame that draws maps; a server hands out only what was declared after it began."""
    return declare_component("samples_panels", path=Path(__file__).with_name("samples_panels"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How maps are drawn."""

    own_scale: bool
    opacity: float
    smooth: bool
    regions: bool


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Samples")
    samples = _list(context.store, context.store.version)
    if not samples:
        st.info("No sample has a score in this store yet; `benchmark run` adds some, and this page then shows them.")
        return
    sample = _choose_sample(samples)
    text, strata = samples_store.sample_row(samples_store.query_of(context.store), sample)
    rows = samples_store.explained(samples_store.query_of(context.store), sample)
    if not rows:
        st.info("No explanation of this sample is kept here: a snapshot may hold scores alone. A store holds the maps too.")
        return
    panels = _choose_panels(context.store, rows)
    look, found = _choose_look(), _found(sample, text, context.data_dir)
    _show_caption(sample, "" if found.text_hidden else text, strata, found)
    layout = next((panel.layout for panel in panels if panel.layout is not None), None)
    chosen = _chosen(sample, layout)
    _draw_panels(panels, sample, "" if found.text_hidden else text, found, layout, chosen, look, context.dark)
    if layout is not None:
        show_surrogates(panels, layout, chosen)
    scores = samples_store.scores_of(samples_store.query_of(context.store), sample, [panel.unit_key for panel in panels])
    show_curves(panels, scores, context.dark)
    means = _means(context.store, context.store.version, sample.data, sample.version)
    show_scores(sample, panels, scores, means)
    show_costs(panels)
    tokens = _tokens(panels[0], "" if found.text_hidden else text, 0 if layout is None else layout.n_tokens)
    show_downloads(panels, sample, "" if found.text_hidden else text, tokens, found, layout, look.smooth, look.regions)


@lru_cache(maxsize=4)
def _list(store: Store, version: Version) -> list[Listed]:
    del version  # part of the key alone
    return samples_store.list_samples(samples_store.query_of(store))


@lru_cache(maxsize=8)
def _means(store: Store, version: Version, data: str, data_version: str) -> samples_store.Means:
    del version  # part of the key alone
    return samples_store.method_means(samples_store.query_of(store), data, data_version)


@lru_cache(maxsize=64)
def _found(sample: Listed, text: str, data_dir: Path | None) -> Found:
    return samples_pictures.find_sample(sample.data, sample.version, sample.id, sample.position, text, data_dir)


def _choose_sample(samples: Sequence[Listed]) -> Listed:
    """Let the reader choose a data set, an order and a sample, with steps to the next and the previous one."""
    versions = list(dict.fromkeys((sample.data, sample.version) for sample in samples))
    several = {data for data, _ in versions if sum(data == other for other, _ in versions) > 1}
    names = {f"{data} {version}" if data in several else data: (data, version) for data, version in versions}
    asked = next((sample for sample in samples if sample.id == st.query_params.get("sample")), samples[0])
    usual = next(name for name, version in names.items() if version == (asked.data, asked.version))
    left, middle, right = st.columns([2, 3, 5], vertical_alignment="bottom")
    with left:
        name = controls.select("Data set", "data", list(names), default=usual)
        _forget(("sample",), "samples:data", name)
    with middle:
        order = controls.select("Order", "order", list(ORDERS), shown=lambda key: ORDERS[key])
    listed = samples_store.ordered([sample for sample in samples if (sample.data, sample.version) == names[name]], order)
    by_id = {sample.id: sample for sample in listed}
    with right:
        chosen = controls.select("Sample", "sample", list(by_id), shown=lambda key: _labelled(by_id[key], order))
    ids = list(by_id)
    place = ids.index(chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous",
            icon=":material/arrow_back:",
            disabled=place == 0,
            on_click=controls.assign,
            args=("sample", ids[max(place - 1, 0)]),
        )
        st.button(
            "Next",
            icon=":material/arrow_forward:",
            disabled=place == len(ids) - 1,
            on_click=controls.assign,
            args=("sample", ids[min(place + 1, len(ids) - 1)]),
        )
        st.caption(f"{place + 1} of {count(len(ids), 'sample')}, {ORDERS[order]}")
    _forget(("tokens", "patches"), "samples:pair", f"{name} {chosen}")
    return by_id[chosen]


def _labelled(sample: Listed, order: Order) -> str:
    said = {
        "disagreement": f" · {number(sample.disagreement, 2)} SD apart",
        "difficulty": f" · {number(sample.difficulty, 2)} SD below the mean",
        "failure": f" · {count(sample.failures, 'method')} without a score of its own",
    }
    return sample.id + said.get(order, "")


def _forget(keys: Sequence[str], slot: str, now: str) -> None:
    """Take from the address what belonged to another sample or data set."""
    if st.session_state.get(slot, now) != now:
        for key in keys:
            st.query_params.pop(key, None)
    st.session_state[slot] = now


def _choose_panels(store: Store, rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """Let the reader choose methods and encoders, and read what they said of the sample."""
    labels, encoders = list(dict.fromkeys(row["label"] for row in rows)), list(dict.fromkeys(row["encoder"] for row in rows))
    usual = [label for label in PREFERRED if label in labels] or labels[: len(PREFERRED)]
    left, right = st.columns([3, 2])
    with left:
        methods = controls.multiselect("Methods", "methods", labels, default=usual, most=MOST_PANELS) or usual
    with right:
        models = controls.multiselect("Encoders", "models", encoders, default=encoders[:1], most=MOST_PANELS) or encoders[:1]
    wanted = [row for label in methods for model in models for row in rows if (row["label"], row["encoder"]) == (label, model)]
    if len(wanted) > MOST_PANELS:
        st.info(f"{len(wanted)} maps were asked for; the first {MOST_PANELS} are shown.")
    wanted = wanted[:MOST_PANELS]
    payloads = samples_store.payloads(samples_store.query_of(store), [row["unit_key"] for row in wanted])
    return [_panel(row, payloads.get(row["unit_key"]), len(models) > 1) for row in wanted]


def _panel(row: Mapping[str, Any], payload: bytes | None, name_encoder: bool) -> Panel:
    read = (row["reason"] or NO_MAP) if payload is None else samples_arrays.read_payload(payload)
    explanation, trouble = (read, None) if isinstance(read, Explanation) else (None, read)
    return Panel(
        title=f"{row['label']} · {row['encoder']}" if name_encoder else row["label"],
        explanation=explanation,
        layout=None if explanation is None else samples_arrays.layout_of(explanation),
        trouble=trouble,
        row=row,
    )


def _choose_look() -> Look:
    with st.expander("How maps are drawn"):
        left, right = st.columns(2)
        with left:
            scale = controls.select("Colours", "scale", list(SCALES), shown=lambda key: SCALES[key])
            opacity = controls.slider("Strength of the colours over the image, percent", "opacity", 0, 100, default=70)
        with right:
            smooth = controls.toggle("Smooth between patches", "smooth", help="Off, a patch has one colour.")
            regions = controls.toggle("True regions", "regions", default=True)
    return Look(own_scale=scale == "own", opacity=opacity / 100, smooth=smooth, regions=regions)


def _show_caption(sample: Listed, text: str, strata: Mapping[str, str], found: Found) -> None:
    if text:
        st.markdown(f"“{plain(text, 600)}”")
    if len(text) > 600:
        with st.expander(f"The whole text, {len(text):,} signs"):
            st.text(text)
    facts = [f"{name.replace('_', ' ')} {value}" for name, value in strata.items()]
    st.caption(plain(" · ".join([sample.id, *facts])))
    if found.why:
        st.info(plain(found.why))


def _chosen(sample: Listed, layout: Layout | None) -> Chosen:
    """Read the picked patches and tokens from the address."""
    if layout is None:
        return Chosen()
    read = {
        key: samples_arrays.read_ranges(st.query_params.get(key, ""), size)
        for key, size in (("patches", layout.n_patches), ("tokens", layout.n_tokens))
    }
    for key, (_, clean) in read.items():
        if not clean:
            st.info(f"The address asks for {key} that {plain(sample.id, 80)} does not have; they are left out.")
    chosen = Chosen(patches=read["patches"][0], tokens=read["tokens"][0])
    _write_chosen(chosen)
    return chosen


def _write_chosen(chosen: Chosen) -> None:
    for key, indices in (("patches", chosen.patches), ("tokens", chosen.tokens)):
        written = samples_arrays.write_ranges(indices)
        if written and st.query_params.get(key) != written:
            st.query_params[key] = written
        elif not written:
            st.query_params.pop(key, None)


def _tokens(panel: Panel, text: str, n_tokens: int) -> tuple[str, ...]:
    return samples_pictures.token_names(panel.row["encoder"], panel.row["revision"], text, n_tokens)[0]


def _draw_panels(
    panels: Sequence[Panel],
    sample: Listed,
    text: str,
    found: Found,
    layout: Layout | None,
    chosen: Chosen,
    look: Look,
    dark: bool,
) -> None:
    """Draw the maps, and take over what the reader picks in them."""
    drawn = [panel for panel in panels if panel.layout is not None]
    for panel in panels:
        if panel.trouble is not None:
            st.warning(f"{plain(panel.title)}: {plain(panel.trouble)}")
        elif panel.layout is None:
            st.info(f"{plain(panel.title)} scores tokens only, so there is no map.")
    if not drawn or layout is None:
        return
    pictures: list[str] = []
    places: dict[str, int | None] = {}
    views = [_view(panel, found, pictures, places) for panel in drawn]
    units = [_units(panel, chosen.within(panel.layout or layout)) for panel in drawn]
    picks = [chosen if panel.layout == layout else Chosen() for panel in drawn]
    maps = {str(i): panel.map(pick.tokens) for i, (panel, pick) in enumerate(zip(drawn, picks, strict=True))}
    strips = {str(i): panel.strip(pick.patches) for i, (panel, pick) in enumerate(zip(drawn, picks, strict=True))}
    map_limits = samples_arrays.limits(maps, {str(i): unit[0] for i, unit in enumerate(units)}, look.own_scale)
    strip_limits = samples_arrays.limits(strips, {str(i): unit[1] for i, unit in enumerate(units)}, look.own_scale)
    shown = [_pair_panel(drawn[0], layout, text, sample, views[0])]
    for i, (panel, pick, unit, view) in enumerate(zip(drawn, picks, units, views, strict=True)):
        assert panel.layout is not None
        image, strip = maps[str(i)], strips[str(i)]
        tokens = _tokens(panel, text, panel.layout.n_tokens)
        words = samples_arrays.describe(panel.title, image, strip, tokens)
        shown.append(
            view
            | {
                "title": panel.title,
                "under": unit[0],
                "alt": words,
                "rows": panel.layout.rows,
                "columns": panel.layout.columns,
                "image": None if image is None else image.tolist(),
                "imageLimit": map_limits[str(i)],
                "text": None if strip is None else strip.tolist(),
                "textLimit": strip_limits[str(i)],
                "tokens": list(tokens),
                "pickable": panel.layout == layout,
                "notes": [words.removeprefix(f"{panel.title}: ").capitalize(), *_remarks(panel, pick, layout)],
            }
        )
    st.caption(_instructions(chosen, look))
    answered = st.session_state.get("samples:answered")
    picked = _component()(
        panels=shown,
        pictures=pictures,
        palette=theme.STOPS,
        opacity=look.opacity,
        smooth=look.smooth,
        showRegions=look.regions,
        patches=chosen.patches,
        tokens=chosen.tokens,
        answered=answered,
        dark=dark,
        key="samples:panels",
        default=None,
    )
    _take_over(picked, answered, layout)
    if chosen.patches or chosen.tokens:
        st.button("Clear what is picked", on_click=_write_chosen, args=(Chosen(),), icon=":material/close:")
    _show_agreement(drawn, maps)


def _take_over(picked: Any, answered: str | None, layout: Layout) -> None:
    """Write what the reader just picked into the address, and draw the page again with it."""
    if not isinstance(picked, dict) or picked.get("id") == answered:
        return
    st.session_state["samples:answered"] = picked.get("id")
    patches, tokens = (
        tuple(sorted({index for index in picked.get(key) or () if isinstance(index, int) and index >= 0}))
        for key in ("patches", "tokens")
    )
    _write_chosen(Chosen(patches=patches, tokens=tokens).within(layout))
    st.rerun()


def _view(panel: Panel, found: Found, pictures: list[str], places: dict[str, int | None]) -> dict[str, Any]:
    """Return the picture, its aspect and the regions as this panel's encoder sees them; a picture is sent once."""
    assert panel.layout is not None
    empty = {"picture": None, "aspect": panel.layout.columns / panel.layout.rows, "regions": []}
    if found.size is None:
        return empty
    frame = samples_pictures.frame_of(panel.row["encoder"], panel.row["revision"], found.size)
    place = str(frame.box)
    if place not in places:
        seen = samples_pictures.crop(found, frame)
        if seen is not None:
            pictures.append(samples_pictures.data_address(seen))
        places[place] = None if seen is None else len(pictures) - 1
    regions = samples_pictures.outlines(found.regions, frame)
    return empty | {"picture": places[place], "regions": regions}


def _pair_panel(panel: Panel, layout: Layout, text: str, sample: Listed, view: dict[str, Any]) -> dict[str, Any]:
    """Return the panel of the pair itself, without scores."""
    tokens = _tokens(panel, text, layout.n_tokens)
    labels = list(dict.fromkeys(region["label"] for region in view["regions"] if region["label"]))
    return view | {
        "title": "The pair",
        "under": f"{layout.rows} x {layout.columns} patches, {count(layout.n_tokens, 'token')}",
        "alt": f"The image of {sample.id} as the encoder sees it: {layout.rows} rows and {layout.columns} columns of patches.",
        "rows": layout.rows,
        "columns": layout.columns,
        "image": None,
        "imageLimit": 1.0,
        "text": None,
        "textLimit": 1.0,
        "tokens": list(tokens),
        "pickable": True,
        "notes": [f"True regions (green): {', '.join(labels)}."] if labels else [],
    }


def _units(panel: Panel, chosen: Chosen) -> tuple[str, str]:
    """Return the units of a panel's map and strip; only maps of one unit share a scale."""
    if panel.explanation is None or panel.explanation.players is None:
        own = f"ranks only: {panel.title}'s own unit"
        return own, own
    crossed = panel.explanation.cross is not None
    whole, pairs = "cosine similarity", "cosine similarity of pairs"
    return pairs if crossed and chosen.tokens else whole, pairs if crossed and chosen.patches else whole


def _remarks(panel: Panel, chosen: Chosen, layout: Layout) -> list[str]:
    if panel.layout != layout:
        return ["This encoder has other patches or tokens, so what is picked does not apply here."]
    if panel.explanation is None or not (chosen.patches or chosen.tokens):
        return []
    if panel.explanation.cross is None:
        return ["No patch-token scores: this map does not depend on what is picked."]
    return []


def _instructions(chosen: Chosen, look: Look) -> str:
    picked = ""
    if chosen.patches or chosen.tokens:
        patches = f"{len(chosen.patches)} patch{'' if len(chosen.patches) == 1 else 'es'}"
        picked = f"Picked: {patches}, {count(len(chosen.tokens), 'token')}. "
    shared = "maps of one unit share one scale, those that only rank have their own"
    scale = "each map has a scale of its own" if look.own_scale else shared
    return (
        f"{picked}Click tokens (with Shift: a span) to see their patches; click patches or draw a box to see their tokens. "
        "With the keyboard: arrows, Enter to pick, Shift and arrows for a box, Escape to clear. "
        f"Red raises the similarity, blue lowers it, white is zero; {scale}. Patches and tokens have scales of their own."
    )


def _show_agreement(panels: Sequence[Panel], maps: Mapping[str, np.ndarray | None]) -> None:
    """Say how alike the maps are that are shown."""
    found = samples_arrays.agreement(maps)
    above = np.triu(np.ones(found.shape, dtype=bool), 1) & np.isfinite(found)
    if not above.any():
        return
    pairs = np.argwhere(above)
    least = pairs[np.argmin(found[above])]
    names = [plain(panels[index].title, 60) for index in least]
    st.caption(
        f"Mean rank correlation (Spearman) of these maps: {found[above].mean():+.2f}. "
        f"Least alike: {names[0]} and {names[1]} ({found[tuple(least)]:+.2f})."
    )
