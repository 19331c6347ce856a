"""Every file of a snapshot that is made of its frozen scores; a new table is one more line in ``TABLES``."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb

from benchmark.ranking import Row, leaderboard, render
from benchmark.ranking.citations import Bibliography, gather, snapshot_entry, suite_entry
from benchmark.ranking.latex import to_latex
from benchmark.ranking.tables import columns, number
from benchmark.ranking.tracks import TrackTable, track_tables
from benchmark.snapshots.manifest import Manifest

DIGITS = 9
"""Decimals of a number in a table. A matrix product on another processor differs in the sixteenth, and tables must not."""

SIGNIFICANT = 6


@dataclass(frozen=True, slots=True)
class Content:
    """What tables are made of."""

    manifest: Manifest
    rows: Sequence[Row]
    tracks: Sequence[TrackTable]
    cited: Bibliography


def content(connection: duckdb.DuckDBPyConnection, manifest: Manifest, folder: Path) -> Content:
    """Rank the frozen scores of ``folder``. Which metric of a task counts in its track is frozen too."""
    import_module("benchmark.metrics")  # fills METRICS, where directions stand
    rows = [_rounded(row) for row in leaderboard(connection)]
    tracks = track_tables(rows, {task.id: task.headline for task in manifest.tasks})
    with (folder / "scores.parquet").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{manifest.suite}/{manifest.version}"
    cited = {
        **{method.label: method.bibtex for method in manifest.methods},
        **{f"the data {data.name}": data.bibtex for data in manifest.data},
        "XLIP-Bench": suite_entry(manifest.code.version),
        "this snapshot": snapshot_entry(name, manifest.created.year, manifest.code.version, digest),
    }
    return Content(manifest, rows, tracks, gather(cited))


def build(made: Content) -> dict[str, str]:
    """Return the text of every table by the name of its file."""
    return {name: table(made).rstrip("\n") + "\n" for name, table in TABLES.items()}


def _rounded(row: Row) -> Row:
    values = {item.name: getattr(row, item.name) for item in dataclasses.fields(row)}
    changed = {name: round(value, DIGITS) + 0.0 for name, value in values.items() if isinstance(value, float)}
    return dataclasses.replace(row, **changed)


def _tracks_text(made: Content) -> str:
    parts: list[str] = []
    for table in made.tracks:
        p = "" if table.p is None else f", Friedman p = {table.p:.2g}"
        apart = "" if table.critical_difference is None else f", critical difference {table.critical_difference:.2f}"
        lines = [
            (str(i), place.method, number(place.mean_rank, 2), number(place.wins)) for i, place in enumerate(table.places, 1)
        ]
        parts += [f"{table.track}: {len(table.blocks)} blocks{p}{apart}"]
        parts += [columns([("place", "method", "mean rank", "wins"), *lines], left=(1,))]
        parts += [f"not on every board: {', '.join(table.partial)}"] if table.partial else []
        parts += [""]
    return "\n".join(parts)


def _tracks_json(made: Content) -> str:
    return json.dumps([_plain(dataclasses.asdict(table)) for table in made.tracks], indent=1)


def _plain(value: Any) -> Any:
    """Return nested values with rounded numbers."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}") + 0.0
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _citation(made: Content) -> str:
    """Return the BibTeX entry of the snapshot itself."""
    return str(made.cited.entries[-1])


def _readme(made: Content) -> str:
    manifest, counts = made.manifest, made.manifest.counts
    encoders = ", ".join(f"`{encoder.name}`" for encoder in manifest.encoders)
    synthetic = all(data.synthetic for data in manifest.data)
    kind = "generated images" if synthetic else ", ".join(f"{data.name} {data.version}" for data in manifest.data)
    folder = f"leaderboards/{manifest.suite}/{manifest.version}"
    what = (
        f"A frozen leaderboard: {len(manifest.methods)} methods on {len(manifest.tasks)} tasks ({kind}) with {encoders}, "
        f"{counts.explanations} explanations and {counts.scores} scores, made {manifest.created:%Y-%m-%d}. "
        "Written by `benchmark snapshot create`; never edited by hand."
    )
    parts = [f"# {manifest.suite} {manifest.version}", "", what, ""]
    parts += [manifest.note, ""] if manifest.note else []
    if synthetic:
        parts += ["The images are synthetic and the numbers say how methods do on them, not on photographs or films.", ""]
    if counts.partial:
        parts += [
            f"{counts.partial} of {counts.rows} rows are of methods without a score on every sample; they have no rank.",
            "",
        ]
    parts += ["## Best of each track", "", *_best(made.tracks), ""]
    parts += [
        "Mean rank over the tasks of a track; `tracks.txt` has all methods, `leaderboard.md` every board with intervals.",
        "",
        "## Verify",
        "",
        f"    benchmark snapshot verify {folder} --rerun 5",
        "",
        "Compares every checksum, makes every table again from the frozen scores byte for byte, and explains and scores some",
        "units anew. `docs/snapshots.md` says what each file holds.",
        "",
        "## Cite",
        "",
        *(f"    {line}" for line in _citation(made).splitlines()),
    ]
    return "\n".join(parts)


def _best(tracks: Iterable[TrackTable]) -> list[str]:
    lines = ["| track | tasks | first | second | third |", "| --- | ---: | --- | --- | --- |"]
    for table in tracks:
        first = [f"{place.method} ({place.mean_rank:.2f})" for place in table.places[:3]]
        lines.append(f"| {table.track} | {len(table.blocks)} | {' | '.join(first + ['–'] * (3 - len(first)))} |")
    return lines


TABLES: Mapping[str, Callable[[Content], str]] = {
    "leaderboard.txt": lambda made: render(made.rows, "text"),
    "leaderboard.md": lambda made: render(made.rows, "markdown"),
    "leaderboard.csv": lambda made: render(made.rows, "csv"),
    "leaderboard.json": lambda made: render(made.rows, "json"),
    "leaderboard.tex": lambda made: to_latex(made.rows, made.cited.keys),
    "references.bib": lambda made: str(made.cited),
    "tracks.txt": _tracks_text,
    "tracks.json": _tracks_json,
    "CITATION.bib": _citation,
    "README.md": _readme,
}
"""The text of every file that is made of frozen scores and the manifest, by its name."""
