"""Leaderboards as text, Markdown, CSV, JSON and Parquet; ``latex.py`` has LaTeX."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmark.ranking.boards import Row
from benchmark.store import Rung
from benchmark.store.paths import literal

Format = Literal["text", "markdown", "csv", "json", "latex"]

BELOW = "†"
BADGES: dict[Rung, str] = {"recomputed": "‡", "self-reported": "§"}
"""Marks of badges; "re-run", the best, has none."""

_BADGE_REMARKS: dict[Rung, str] = {
    "recomputed": "explanations made elsewhere, scored here",
    "self-reported": "scores made elsewhere, not checked here",
}
HEADER = ("rank", "tie group", "method", "mean", "95 % interval", "n", "failed", "degenerate", "forwards")


def render(rows: Sequence[Row], form: Format) -> str:
    """Return a leaderboard in one of the formats, without a final line break."""
    if form == "latex":
        from benchmark.ranking.latex import to_latex  # it is built on this module

        return to_latex(rows)
    return FORMATS[form](rows)


def to_json(rows: Sequence[Row]) -> str:
    """Return one object per task, model, metric and method."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1)


def to_csv(rows: Sequence[Row]) -> str:
    """Return every field of every row."""
    names = [item.name for item in dataclasses.fields(Row)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) | {"below": " ".join(row.below)} for row in rows)
    return stream.getvalue().rstrip("\n")


def to_parquet(rows: Sequence[Row], path: Path) -> None:
    """Write every field of every row as a Parquet file."""
    import duckdb

    lines = "\n".join(json.dumps(dataclasses.asdict(row)) for row in rows)
    with TemporaryDirectory() as folder:
        source = Path(folder) / "rows.json"
        source.write_text(lines, encoding="utf-8")
        query = "COPY (SELECT * FROM read_json($source, format = 'newline_delimited')) TO {} (FORMAT parquet)"
        duckdb.connect().execute(query.format(literal(path)), {"source": str(source)})


def to_text(rows: Sequence[Row]) -> str:
    """Return one table per task, model and metric, in columns for a terminal."""
    parts: list[str] = []
    for title, board in boards(rows):
        parts += [title, columns([HEADER, *map(cells, board)], left=(2, 4)), *remarks(board), ""]
    return "\n".join(parts).rstrip()


def to_markdown(rows: Sequence[Row]) -> str:
    """Return one Markdown table per task, model and metric."""
    parts: list[str] = []
    for title, board in boards(rows):
        rule = ["---:" if i not in (2, 4) else "---" for i in range(len(HEADER))]
        lines = [HEADER, rule, *(tuple(cell.replace("|", r"\|") for cell in cells(row)) for row in board)]
        parts += [f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
        parts += [f"{remark}\n" for remark in remarks(board)]
    return "\n".join(parts).rstrip()


FORMATS: dict[Format, Callable[[Sequence[Row]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
}


def columns(lines: Iterable[Sequence[str]], left: Iterable[int] = ()) -> str:
    """Align cells in columns, to the right but for those in ``left``."""
    table = [list(line) for line in lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))] if table else []
    aligned = set(left)
    padded = (
        (
            cell.ljust(width) if i in aligned else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table; a missing one is a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def boards(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for (task, model, metric), group in groupby(rows, key=lambda row: (row.task, row.model, row.metric)):
        board = list(group)
        direction = {"higher": "higher is better", "lower": "lower is better", "neither": "not ranked"}[board[0].better]
        chances = [row.chance for row in board if row.chance is not None]
        chance = f", chance {number(sum(chances) / len(chances))}" if chances else ""
        yield f"{task} · {metric} ({direction}{chance}) · {model}", board


def cells(row: Row) -> tuple[str, ...]:
    if row.rank is None:
        rank = "–"
    elif row.rank_low == row.rank_high:
        rank = str(row.rank)
    else:
        rank = f"{row.rank} ({row.rank_low}–{row.rank_high})"
    return (
        rank,
        str(row.tie_group or "–"),
        " ".join([row.method, *([BELOW] if row.below else []), *([BADGES[row.badge]] if row.badge in BADGES else [])]),
        number(row.mean),
        "–" if row.low is None else f"[{number(row.low)}, {number(row.high)}]",
        str(row.n) if row.n == row.n_samples else f"{row.n} of {row.n_samples}",
        str(row.n_failed),
        str(row.n_degenerate),
        "–" if row.forwards is None else f"{row.forwards:.0f}",
    )


def remarks(board: Sequence[Row]) -> Iterator[str]:
    """Say why rows have no rank or are short of samples."""
    left_out = max(board, key=lambda row: row.n_excluded)
    if left_out.n_excluded:
        yield f"left out for every method: {left_out.n_excluded} ({left_out.exclusion})"
    controls = sorted({name for row in board for name in row.below})
    if controls:
        yield f"{BELOW} below {' or '.join(controls)}"
    for badge, mark in BADGES.items():
        if any(row.badge == badge for row in board):
            yield f"{mark} {badge}: {_BADGE_REMARKS[badge]}"
    for row in board:
        if row.state == "unsupported":
            yield f"{row.method}: does not apply: {row.reason}"
        elif row.n_failed:
            yield f"{row.method}: failed on {row.n_failed}, counted as chance: {row.reason}"
