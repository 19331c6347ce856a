"""Samples of an export: which ones, and for each its image, regions, tokens, maps and scores of all methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.explanations import Explanation
from benchmark.ranking.pareto import CONTROLS, TRUTH_READERS
from benchmark.site import export_figures, samples_arrays, samples_pictures, samples_store
from benchmark.site.export_files import Files, slug
from benchmark.site.samples_arrays import Layout
from benchmark.site.samples_pictures import Found
from benchmark.site.samples_store import Listed, Means, Query

SIMILARITY = "cosine similarity"
DIGITS = 9

_OF_TASK = """
SELECT DISTINCT task, data, data_version, sample_id FROM scores
WHERE status <> 'excluded' AND data_version IS NOT NULL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A token with the step of its colour (``None`` without a score) and its score in words."""

    name: str
    level: int | None
    score: str


@dataclass(frozen=True, slots=True)
class View:
    """What an encoder sees: a file of the image, outlines of the true regions in percent of it, rows and columns of patches.

    Views of one ``name`` on a page have the same image and outlines.
    """

    name: str
    picture: str | None
    outlines: tuple[str, ...]
    labels: tuple[str, ...]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Panel:
    """One method's map and tokens, or in ``trouble`` why there are none; ``words`` say what the map shows."""

    method: str
    trouble: str | None
    words: str = ""
    scale: str = ""
    heat: str | None = None
    view: View | None = None
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """All methods' explanations by one encoder; ``views`` are the different ones, of which there is one but for odd stores."""

    encoder: str
    views: tuple[View, ...]
    tokens: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A score as it stands in a table."""

    value: float | None
    status: str
    note: str


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of one sample in one task by one encoder: a row for each method, a column for each metric."""

    task: str
    encoder: str
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePage:
    """Everything that the page of one sample shows; ``text`` is empty where it may not be shown."""

    sample: Listed
    address: str
    text: str
    strata: Mapping[str, str]
    why: str | None
    seen: tuple[Seen, ...]
    tables: tuple[ScoreTable, ...]
    scores: pd.DataFrame


def chosen(query: Query, most: int) -> dict[str, list[Listed]]:
    """Return for every task up to ``most`` samples with a stored explanation, those first on which methods disagree most."""
    if most == 0:
        return {}
    kept = query("SELECT DISTINCT data, data_version, sample_id FROM explanations WHERE payload IS NOT NULL", {})
    mapped = {_key(row) for row in kept}
    members: dict[str, set[tuple[str, str, str]]] = {}
    for row in query(_OF_TASK, {}):
        members.setdefault(row["task"], set()).add(_key(row))
    samples = sorted(samples_store.list_samples(query), key=order)
    return {
        task: [sample for sample in samples if (sample.data, sample.version, sample.id) in keys & mapped][:most]
        for task, keys in members.items()
    }


def order(sample: Listed) -> tuple[float, str, str, int, str]:
    """Return the key by which samples are sorted; sums over many rows end in other digits each time, so they are rounded."""
    apart = float("inf") if sample.disagreement is None else -round(sample.disagreement, DIGITS)
    return apart, sample.data, sample.version, sample.position, sample.id


def address(sample: Listed) -> str:
    """Return where the page of a sample stands."""
    return f"samples/{slug(f'{sample.data} {sample.version} {sample.id}')}.html"


def gather(query: Query, sample: Listed, means: Means, files: Files, shown: bool, data_dir: Path | None) -> SamplePage:
    """Read one sample and write its pictures; where its data set may not be ``shown`` there are maps and scores only."""
    text, strata = samples_store.sample_row(query, sample)
    found = Found(why=f"The licence of {sample.data} lets neither image nor text of it be shown; maps and scores only.")
    if shown:
        found = samples_pictures.find_sample(sample.data, sample.version, sample.id, sample.position, text, data_dir)
    text = text if shown and not found.text_hidden else ""
    rows = sorted(samples_store.explained(query, sample), key=_place)
    scores = samples_store.scores_of(query, sample, [row["unit_key"] for row in rows])
    if not shown:  # a reason may repeat a text
        rows, scores = _hushed(rows), _hushed(scores)
    payloads = samples_store.payloads(query, [row["unit_key"] for row in rows])
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    pictures: dict[str, str] = {}
    seen = tuple(
        _seen([row for row in rows if row["encoder"] == encoder], payloads, sample, text, found, files, pictures)
        for encoder in encoders
    )
    return SamplePage(
        sample=sample,
        address=address(sample),
        text=text,
        strata=strata,
        why=found.why,
        seen=seen,
        tables=_tables(scores, means, [row["label"] for row in rows]),
        scores=_whole(scores, means),
    )


def _hushed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"reason": None} for row in rows]


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["data"], row["data_version"], row["sample_id"]


def _place(row: Mapping[str, Any]) -> tuple[str, bool, str]:
    return row["encoder"], row["label"] in (*CONTROLS, *TRUTH_READERS), row["label"]


def _seen(
    rows: Sequence[Mapping[str, Any]],
    payloads: Mapping[str, bytes],
    sample: Listed,
    text: str,
    found: Found,
    files: Files,
    pictures: dict[str, str],
) -> Seen:
    read = {row["label"]: _read(row, payloads.get(row["unit_key"])) for row in rows}
    explanations = {label: item for label, item in read.items() if isinstance(item, Explanation)}
    layouts = {label: samples_arrays.layout_of(item) for label, item in explanations.items()}
    units = {label: SIMILARITY if item.players is not None else label for label, item in explanations.items()}
    map_limits = samples_arrays.limits({label: item.image for label, item in explanations.items()}, units)
    strip_limits = samples_arrays.limits({label: item.text for label, item in explanations.items()}, units)
    panels: list[Panel] = []
    for row in rows:
        label, item, layout = row["label"], read[row["label"]], layouts.get(row["label"])
        if not isinstance(item, Explanation):
            panels.append(Panel(label, item))
            continue
        names = _names(row, text, item, layout)
        panels.append(
            Panel(
                method=label,
                trouble=None if layout is not None else "it scores tokens only, so there is no map",
                words=samples_arrays.describe(label, item.image, item.text, names).removeprefix(f"{label}: ").capitalize(),
                scale=_scale(item, map_limits[label]),
                heat=None if item.image is None else export_figures.heat(item.image, map_limits[label]),
                view=None if layout is None else _view(row, layout, sample, found, files, pictures),
                tokens=_tokens(names, item, strip_limits[label]),
            )
        )
    drawn = [panel for panel in panels if panel.view is not None]
    views = tuple(dict.fromkeys(panel.view for panel in drawn if panel.view is not None))
    tokens = tuple(token.name for token in drawn[0].tokens) if drawn else ()
    return Seen(rows[0]["encoder"], views, tokens, tuple(panels))


def _read(row: Mapping[str, Any], payload: bytes | None) -> Explanation | str:
    if payload is None:
        return row["reason"] or "nothing was stored"
    return samples_arrays.read_payload(payload)


def _names(row: Mapping[str, Any], text: str, explanation: Explanation, layout: Layout | None) -> tuple[str, ...]:
    size = 0 if explanation.text is None else len(explanation.text)
    n_tokens = max(size, 0 if layout is None else layout.n_tokens)
    return samples_pictures.token_names(row["encoder"], row["revision"] or "", text, n_tokens)[0]


def _scale(explanation: Explanation, limit: float) -> str:
    if explanation.players is not None:
        return f"{SIMILARITY}, ±{limit:.3g}"
    return f"ranks only, ±{limit:.3g}"


def _tokens(names: Sequence[str], explanation: Explanation, limit: float) -> tuple[Token, ...]:
    scores = explanation.text
    if scores is None:
        return tuple(Token(name, None, "no score") for name in names)
    return tuple(
        Token(name, export_figures.level(score, limit), f"{score:+.4g}")
        for name, score in zip(names, scores.tolist(), strict=False)
    )


def _view(row: Mapping[str, Any], layout: Layout, sample: Listed, found: Found, files: Files, pictures: dict[str, str]) -> View:
    """Return the image and the regions as one encoder sees them; a picture is written once."""
    if found.size is None:
        return View("", None, (), (), layout.rows, layout.columns)
    frame = samples_pictures.frame_of(row["encoder"], row["revision"] or "", found.size)
    key = str(frame.box)
    if key not in pictures:
        image = samples_pictures.crop(found, frame)
        if image is not None:
            ending, data = export_figures.picture(image)
            pictures[key] = files.write(f"{address(sample).removesuffix('.html')}-{len(pictures)}.{ending}", data)
    outlines = samples_pictures.outlines(found.regions, frame)
    lines = [" ".join(f"{100 * x:.4g},{100 * y:.4g}" for x, y in line) for region in outlines for line in region["lines"]]
    return View(
        f"regions-{slug(key)}",
        pictures.get(key),
        tuple(dict.fromkeys(lines)),
        tuple(dict.fromkeys(region["label"] for region in outlines if region["label"])),
        layout.rows,
        layout.columns,
    )


def _tables(scores: Sequence[Mapping[str, Any]], means: Means, labels: Sequence[str]) -> tuple[ScoreTable, ...]:
    found: list[ScoreTable] = []
    for task, encoder in dict.fromkeys((score["task"], score["encoder"]) for score in scores):
        here = {
            (score["label"], score["metric"]): score for score in scores if (score["task"], score["encoder"]) == (task, encoder)
        }
        metrics = tuple(dict.fromkeys(metric for _, metric in here))
        rows = tuple(
            (label, tuple(_cell(here.get((label, metric)), means) for metric in metrics))
            for label in dict.fromkeys(labels)
            if any((label, metric) in here for metric in metrics)
        )
        found.append(ScoreTable(task, encoder, metrics, rows))
    return tuple(found)


def _cell(score: Mapping[str, Any] | None, means: Means) -> Cell:
    if score is None:
        return Cell(None, "absent", "not scored")
    mean = _mean(score, means)
    said = [score["status"]]
    if score["chance"] is not None:
        said.append(f"chance {score['chance']:.3f}")
    if mean is not None:
        said.append(f"the method's mean {mean:.3f}")
    if score["reason"]:
        said.append(score["reason"])
    return Cell(score["value"], score["status"], ", ".join(said))


def _mean(score: Mapping[str, Any], means: Means) -> float | None:
    found = means.get((score["encoder"], score["task"], score["metric"], score["label"]))
    return None if found is None else round(found[0], DIGITS)


def _whole(scores: Sequence[Mapping[str, Any]], means: Means) -> pd.DataFrame:
    names = ("task", "metric", "encoder", "label", "status", "value", "chance", "reason")
    return pd.DataFrame([{name: score[name] for name in names} | {"mean": _mean(score, means)} for score in scores])
