"""Leaderboards as text, Markdown, CSV, JSON and LaTeX."""

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

Format = Literal["text", "markdown", "csv", "json", "latex"]

BELOW = "†"
HEADER = ("rank", "tie group", "method", "mean", "95 % interval", "n", "failed", "degenerate", "forwards")


def render(rows: Sequence[Row], form: Format) -> str:
    """Return a leaderboard in one of the formats, without a final line break."""
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
        query = "COPY (SELECT * FROM read_json($source, format = 'newline_delimited')) TO '{}' (FORMAT parquet)"
        duckdb.connect().execute(query.format(str(path).replace("'", "''")), {"source": str(source)})


def to_text(rows: Sequence[Row]) -> str:
    """Return one table per task, model and metric, in columns for a terminal."""
    parts: list[str] = []
    for title, board in _boards(rows):
        parts += [title, columns([HEADER, *map(_cells, board)], left=(2, 4)), *_remarks(board), ""]
    return "\n".join(parts).rstrip()


def to_markdown(rows: Sequence[Row]) -> str:
    """Return one Markdown table per task, model and metric."""
    parts: list[str] = []
    for title, board in _boards(rows):
        rule = ["---:" if i not in (2, 4) else "---" for i in range(len(HEADER))]
        lines = [HEADER, rule, *(tuple(cell.replace("|", r"\|") for cell in _cells(row)) for row in board)]
        parts += [f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
        parts += [f"{remark}\n" for remark in _remarks(board)]
    return "\n".join(parts).rstrip()


def to_latex(rows: Sequence[Row]) -> str:
    """Return booktabs tables; the best tie group is bold."""
    parts: list[str] = []
    for title, board in _boards(rows):
        parts += [r"\begin{table}", r"\centering", rf"\caption{{{_escape(title)}}}", r"\begin{tabular}{rrlrlrrrr}", r"\toprule"]
        parts += [" & ".join(map(_escape, HEADER)) + r" \\", r"\midrule"]
        for row in board:
            cells = [_escape(cell) for cell in _cells(row)]
            if row.tie_group == 1:
                cells[2:4] = [rf"\textbf{{{cell}}}" for cell in cells[2:4]]
            parts.append(" & ".join(cells) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(parts).rstrip()


FORMATS: dict[Format, Callable[[Sequence[Row]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
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


def _boards(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for (task, model, metric), group in groupby(rows, key=lambda row: (row.task, row.model, row.metric)):
        board = list(group)
        direction = {"higher": "higher is better", "lower": "lower is better", "neither": "not ranked"}[board[0].better]
        chances = [row.chance for row in board if row.chance is not None]
        chance = f", chance {number(sum(chances) / len(chances))}" if chances else ""
        yield f"{task} · {metric} ({direction}{chance}) · {model}", board


def _cells(row: Row) -> tuple[str, ...]:
    if row.rank is None:
        rank = "–"
    elif row.rank_low == row.rank_high:
        rank = str(row.rank)
    else:
        rank = f"{row.rank} ({row.rank_low}–{row.rank_high})"
    return (
        rank,
        str(row.tie_group or "–"),
        f"{row.method} {BELOW}" if row.below else row.method,
        number(row.mean),
        "–" if row.low is None else f"[{number(row.low)}, {number(row.high)}]",
        str(row.n) if row.n == row.n_samples else f"{row.n} of {row.n_samples}",
        str(row.n_failed),
        str(row.n_degenerate),
        "–" if row.forwards is None else f"{row.forwards:.0f}",
    )


def _remarks(board: Sequence[Row]) -> Iterator[str]:
    """Say why rows have no rank or are short of samples."""
    left_out = max(board, key=lambda row: row.n_excluded)
    if left_out.n_excluded:
        yield f"left out for every method: {left_out.n_excluded} ({left_out.exclusion})"
    controls = sorted({name for row in board for name in row.below})
    if controls:
        yield f"{BELOW} below {' or '.join(controls)}"
    for row in board:
        if row.state == "unsupported":
            yield f"{row.method}: does not apply: {row.reason}"
        elif row.n_failed:
            yield f"{row.method}: failed on {row.n_failed}, counted as chance: {row.reason}"


def _escape(text: str) -> str:
    signs = {
        "\\": r"\textbackslash{}",
        "·": r"$\cdot$",
        "–": "--",
        BELOW: r"\dag{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(signs.get(sign, sign) for sign in text)
