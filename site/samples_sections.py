"""Below the maps of a sample: the surrogates' values, curves, scores, costs and downloads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from benchmark.data import Region
from benchmark.explanations import Explanation
from benchmark.figures import draw_explanations
from benchmark.metrics.base import METRICS
from benchmark.metrics.perturbation import Variant
from benchmark.site import charts, controls, downloads, samples_arrays, samples_pictures
from benchmark.site.plot import plot
from benchmark.site.samples_arrays import PARTS, Chosen, Layout
from benchmark.site.samples_pictures import Found
from benchmark.site.samples_store import Listed, Means
from benchmark.site.wording import line, plain

COLUMN = 120  # pixels, so that one value stands beside its name on a phone
VARIANTS: Mapping[Variant, str] = {
    "image": "patches, the text stays whole",
    "text": "tokens, the image stays whole",
    "joint": "patches and tokens together",
    "joint_greedy": "patches and tokens, greedy by pairs",
}
PART_NAMES = {
    "empty": "nothing kept",
    "image": "patches alone",
    "text": "tokens alone",
    "image pairs": "pairs of patches",
    "text pairs": "pairs of tokens",
    "cross pairs": "patch-token pairs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One method's explanation by one encoder, or the sentence that says why there is none; ``row`` is the stored row."""

    title: str
    explanation: Explanation | None
    layout: Layout | None
    trouble: str | None
    row: Mapping[str, Any]

    @property
    def unit_key(self) -> str:
        return self.row["unit_key"]

    def map(self, tokens: Sequence[int]) -> Float[np.ndarray, "row column"] | None:
        return None if self.explanation is None else samples_arrays.map_of(self.explanation, tokens)

    def strip(self, patches: Sequence[int]) -> Float[np.ndarray, " token"] | None:
        return None if self.explanation is None else samples_arrays.strip_of(self.explanation, patches)


def show_surrogates(panels: Sequence[Panel], layout: Layout, chosen: Chosen) -> None:
    """Show what each surrogate says the similarity is when only the picked players are kept, and what it is made of."""
    st.subheader("What the surrogates say of the picked patches and tokens")
    able = [panel for panel in panels if panel.layout == layout and panel.explanation and panel.explanation.players]
    if not able:
        st.write("None of these methods has a surrogate: they rank patches and tokens, and predict no similarity.")
        return
    kept = chosen.coalition(layout)
    table: dict[str, list[float]] = {}
    for panel in able:
        assert panel.explanation is not None
        players = panel.explanation.players
        assert players is not None
        found = samples_arrays.parts(players, kept, layout.n_patches)
        rest, everything = players.predict(np.stack([~kept, np.ones_like(kept)]))
        table[panel.title] = [sum(found.values()), *(found[name] for name in PARTS), float(rest), float(everything)]
    names = ["similarity with only the picked kept", *(f"of it: {PART_NAMES[name]}" for name in PARTS)]
    frame = pd.DataFrame(table, index=[*names, "similarity without the picked", "similarity with everything"])
    widths = {name: st.column_config.Column(width=COLUMN) for name in frame.columns}
    st.dataframe(frame.style.format("{:+.4f}"), width="stretch", column_config=widths)
    picked = "" if kept.any() else "Nothing is picked yet, so this is the empty pair. "
    others = [plain(panel.title, 60) for panel in panels if panel not in able]
    st.caption(f"{picked}In cosine similarity." + (f" Without a surrogate: {', '.join(others)}." if others else ""))


def show_curves(panels: Sequence[Panel], scores: Sequence[Mapping[str, Any]], dark: bool) -> None:
    """Draw insertion and deletion: as the encoder was measured where the store has it, and as the surrogates foresee it."""
    st.subheader("Insertion and deletion")
    variant = controls.select("Which players leave", "curve", list(VARIANTS), shown=lambda key: VARIANTS[key])
    titles = {panel.unit_key: panel.title for panel in panels}
    points: list[dict[str, Any]] = []
    measurable = False
    for score in scores:
        kind, _, rest = score["metric"].partition("_")
        if kind not in ("insertion", "deletion") or rest != variant:
            continue
        measurable = True
        curve = samples_arrays.stored_curve(score["flags"])
        if curve is not None:
            points += _points(titles[score["unit_key"]], kind, "measured on the encoder", *curve)
    measured = bool(points)
    for panel in panels:
        found = None if panel.explanation is None else samples_arrays.predicted_curves(panel.explanation, variant)
        for kind, values in (found or {}).items():
            points += _points(panel.title, kind, "foreseen by the surrogate", np.linspace(0, 100, len(values)), values)
    if measurable and not measured:
        st.info("These scores were stored before curves were kept; `benchmark rescore` adds them without explaining anew.")
    elif not measurable:
        st.caption("No insertion task was run on this sample, so the encoder's own curves are not known.")
    if not points:
        st.write("None of these methods has a surrogate to foresee a curve with.")
        return
    titled = [panel.title for panel in panels]
    for source in dict.fromkeys(point["source"] for point in points):
        chosen = [point for point in points if point["source"] == source]
        plot(
            charts.curves(chosen, source, titled, dark=dark),
            f"Insertion and deletion, {source}: similarity against the share removed.",
        )
    st.caption(
        "Deletion (dashed) removes the most important first and should fall early; insertion (solid) removes the least "
        "important first and should stay high. A surrogate's curve follows its own order and its own prediction: where it "
        "differs from the measured one, the surrogate is wrong about the encoder."
    )


def _points(title: str, kind: str, source: str, percent: np.ndarray, values: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"method": line(title, 60), "kind": kind, "source": source, "removed": float(x), "similarity": float(y)}
        for x, y in zip(percent, values, strict=True)
    ]


def show_scores(sample: Listed, panels: Sequence[Panel], scores: Sequence[Mapping[str, Any]], means: Means) -> None:
    """Show every score of the chosen explanations beside chance and the method's mean over the data set."""
    st.subheader("Scores of this sample")
    if not scores:
        st.write("None of these explanations has a score.")
        return
    table = pd.DataFrame(score_rows(panels, scores, means))
    st.dataframe(table, width="stretch", hide_index=True)
    downloads.table_buttons(f"{sample.id} scores", lambda: table, key="samples:scores")


def score_rows(panels: Sequence[Panel], scores: Sequence[Mapping[str, Any]], means: Means) -> list[dict[str, Any]]:
    """Return scores as a table's rows; the mean is the method's over all samples of the data set that it has a value on."""
    titles = {panel.unit_key: panel.title for panel in panels}
    found: list[dict[str, Any]] = []
    for score in scores:
        metric = METRICS.get(score["metric"])
        mean = means.get((score["encoder"], score["task"], score["metric"], score["label"]))
        found.append(
            {
                "task": score["task"],
                "metric": score["metric"],
                "method": titles[score["unit_key"]],
                "value": score["value"],
                "chance": score["chance"],
                "method's mean": None if mean is None else mean[0],
                "better": None if metric is None else metric.better,
                "status": score["status"],
                "reason": score["reason"],
            }
        )
    return found


def show_costs(panels: Sequence[Panel]) -> None:
    """Show what each explanation cost, and which similarity it explained."""
    st.subheader("Cost")
    names = {
        "image_forwards": "image forwards",
        "text_forwards": "text forwards",
        "backwards": "backwards",
        "seconds": "seconds",
        "peak_mb": "memory, MB",
        "similarity": "encoder's similarity",
        "explained_similarity": "similarity explained",
    }
    rows = [{"method": panel.title} | {name: panel.row[key] for key, name in names.items()} for panel in panels]
    st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)


def show_downloads(
    panels: Sequence[Panel],
    sample: Listed,
    text: str,
    tokens: Sequence[str],
    found: Found,
    layout: Layout | None,
    smooth: bool,
    regions: bool,
) -> None:
    """Offer the figure and the arrays; both are made when they are asked for."""
    drawable = {panel.title: panel.explanation for panel in panels if panel.layout == layout and panel.explanation is not None}
    if not drawable:
        return
    st.subheader("Figure and arrays")

    def figure() -> Figure:
        return draw_figure(drawable, text, tokens, found, panels[0], smooth, regions)

    downloads.figure_buttons(sample.id, figure, key="samples:figure")
    npz = f"{downloads.file_name(sample.id)}.npz"
    downloads.bytes_button("Arrays (npz)", npz, lambda: arrays_file(panels), "application/octet-stream", key="samples:arrays")


def arrays_file(panels: Sequence[Panel]) -> bytes:
    """Return all arrays of the explanations as one ``.npz``; names are method and array."""
    arrays = {
        f"{panel.title} {name}".replace("/", "-").replace("\\", "-"): array
        for panel in panels
        if panel.explanation is not None
        for name, array in panel.explanation.arrays().items()
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, **cast(Any, arrays))
    return buffer.getvalue()


def draw_figure(
    explanations: Mapping[str, Explanation],
    text: str,
    tokens: Sequence[str],
    found: Found,
    panel: Panel,
    smooth: bool,
    regions: bool,
) -> Figure:
    """Draw the pair and the explanations as one figure; without an image the maps are drawn on an empty one."""
    image, boxes = Image.new("RGB", (224, 224), "#f2f2f2"), list[tuple[str, Region]]()
    if found.size is not None:
        frame = samples_pictures.frame_of(panel.row["encoder"], panel.row["revision"], found.size)
        seen = samples_pictures.crop(found, frame)
        if seen is not None:
            image = seen
            boxes = samples_pictures.to_frame(found.regions, frame, seen.size) if regions else []
    names = [line(token, 30) for token in tokens]
    return draw_explanations(image, line(text, 600), names, explanations, boxes, smooth=smooth)
