"""Cards of tasks and data sets: what is measured, on what, in which version, under which licence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st
from PIL import Image

from benchmark.data import DATASETS
from benchmark.data.generated import GeneratedSet
from benchmark.site import boards, controls, documents, downloads, links, queries
from benchmark.site.catalogue import DataCard, TaskCard
from benchmark.site.context import Context
from benchmark.site.samples_pictures import Frame, crop, find_sample
from benchmark.site.wording import count, plain

LARGEST = 1e300
EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A sample of a data set; without ``image`` where it is not on this machine."""

    sample: str
    text: str
    strata: Mapping[str, str]
    image: Image.Image | None


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Tasks and data")
    _task(context)
    _data(context)


def _task(context: Context) -> None:
    scored = sorted({item.task for item in boards.listed(context.store)})
    names = list(dict.fromkeys([*scored, *sorted(context.catalogue.tasks)]))
    name = controls.select("Task", "task", names, shown=lambda task: task if task in scored else f"{task} (not run here)")
    card = context.catalogue.task(name)
    st.header(plain(name))
    st.write(plain(card.summary, 2000) or "A task that is not in the package; this store knows only its scores.")
    if name in scored:
        links.link("Its leaderboard", "leaderboard", icon=":material/leaderboard:", task=name, track=_track(context, name))
    _facts(card)
    _metrics(context, card.metrics or [item.metric for item in boards.listed(context.store) if item.task == name])


def _facts(card: TaskCard) -> None:
    facts = {
        "Version": str(card.version or ""),
        "Data": f"{card.data}, view {card.view}" if card.data else "",
        "Protocol": card.protocol,
        "Settings": ", ".join(f"{name} = {value}" for name, value in card.settings.items()),
        "Tiers": ", ".join(f"{name} {n}" for name, n in card.tiers.items()),
    }
    for name, value in facts.items():
        if value:
            st.write(f"**{name}**: {plain(value, 2000)}")


def _metrics(context: Context, names: Sequence[str]) -> None:
    cards = [context.catalogue.metric(name) for name in dict.fromkeys(names)]
    table = pd.DataFrame(
        [
            {
                "metric": card.name,
                "what": card.summary,
                "unit": card.unit,
                "range": f"{card.low:g} to {'∞' if card.high > LARGEST else f'{card.high:g}'}",
                "better": card.better,
                "track": card.track,
                "chance": card.chance,
                "known failures": card.known_failures,
                "source": card.source,
            }
            for card in cards
        ]
    )
    st.subheader("Metrics")
    st.dataframe(table, hide_index=True, alt="Metrics of the task with unit, range, direction and source.")
    with st.expander("Download the metrics"):
        downloads.table_buttons("metrics", lambda: table, key="metrics")


def _data(context: Context) -> None:
    found = queries.data_versions(context.store)
    here = [item["data"] for item in found]
    names = list(dict.fromkeys([*here, *sorted(context.catalogue.data)]))
    st.divider()
    name = controls.select("Data set", "data", names, shown=lambda item: item if item in here else f"{item} (not run here)")
    card = context.catalogue.data_set(name)
    st.header(f"Data: {plain(name)}")
    st.write(plain(card.summary) or "A data set that is not in the package; nothing of it may be shown.")
    facts = {
        "Version": card.version,
        "Licence": card.licence,
        "Views": ", ".join(card.views),
        "Synthetic": "yes" if card.synthetic else "no",
    }
    for title, value in facts.items():
        if value:
            st.write(f"**{title}**: {plain(value, 1000)}")
    for item in found:
        if item["data"] == name:
            size = f"{count(item['n_samples'], 'sample')} of {count(item['n_images'], 'image')}"
            st.write(plain(f"In this store: version {item['data_version']}, {size}."))
    _examples(context, card)
    if card.card:
        with st.expander("The data card", expanded=True):
            st.markdown(documents.body(card.card))


def _examples(context: Context, card: DataCard) -> None:
    if not card.shows_images:
        st.caption("The licence of this data set lets scores be shown here, but neither images nor texts.")
        return
    stored = queries.texts(context.store, card.name, EXAMPLES)
    examples = [_stored(context.data_dir, card.name, item) for item in stored] or _made(card.name)
    if not examples:
        return
    st.subheader("Examples")
    for example, cell in zip(examples, st.columns(EXAMPLES), strict=False):
        with cell:
            if example.image is not None:
                st.image(example.image, width="stretch", alt=f"The image of {example.sample}")
            st.write(plain(example.text))
            if example.strata:
                st.caption(plain(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in example.strata.items())))
            if stored:
                links.link(f"Look at {example.sample}", "samples", data=card.name, sample=example.sample)


def _stored(data_dir: Path | None, data: str, item: queries.Facts) -> Example:
    found = find_sample(data, item["data_version"], item["sample_id"], 0, item["text"], data_dir)
    width, height = found.size or (1, 1)
    seen = crop(found, Frame(box=(0.0, 0.0, float(width), float(height)), known=True))
    return Example(sample=item["sample_id"], text=item["text"], strata=json.loads(item["strata"]), image=seen)


def _made(data: str) -> list[Example]:
    """Return the first samples of a generated set that no run has used; of another one nothing is here."""
    if data not in DATASETS or not issubclass(kind := DATASETS[data], GeneratedSet):
        return []
    samples = kind().samples("captions", EXAMPLES)
    return [Example(sample=item.id, text=item.text, strata=item.strata, image=item.load_image()) for item in samples]


def _track(context: Context, task: str) -> str:
    headline = context.catalogue.headline(task)
    metrics = [item.metric for item in boards.listed(context.store) if item.task == task]
    return boards.track_of(headline if headline in metrics else metrics[0])
