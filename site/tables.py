"""Rows of boards and comparisons as tables: what a page shows of them, and all of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.ranking import Comparison, Row
from benchmark.ranking.tables import BELOW

WIDTHS = {
    "rank": 76, "tie group": 66, "method": 160, "mean": 54, "low": 54, "high": 54, "chance": 56, "wins": 48, "p best": 52,
    "badge": 66, "n": 42, "of": 42, "failed": 50, "degenerate": 74, "forwards": 62, "seconds": 58,
}  # fmt: skip
"""Pixels of the columns of a board, so that names stand whole and, on a wide screen, all of them are seen."""


def shown(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a board as people read it."""
    return pd.DataFrame(
        [
            {
                "rank": "–" if row.rank is None else _span(row.rank, row.rank_low, row.rank_high),
                "tie group": row.tie_group,
                "method": f"{row.method} {BELOW}" if row.below else row.method,
                "mean": _rounded(row.mean),
                "low": _rounded(row.low),
                "high": _rounded(row.high),
                "chance": _rounded(row.chance),
                "wins": _rounded(row.wins, 2),
                "p best": _rounded(row.p_best, 2),
                "badge": row.badge,
                "n": row.n,
                "of": row.n_samples,
                "failed": row.n_failed,
                "degenerate": row.n_degenerate,
                "forwards": _rounded(row.forwards, 0),
                "seconds": _rounded(row.seconds, 2),
            }
            for row in rows
        ]
    )


def whole(rows: Sequence[Row]) -> pd.DataFrame:
    """Return every field of every row."""
    return flat([dataclasses.asdict(row) for row in rows])


def compared(items: Sequence[Comparison]) -> pd.DataFrame:
    """Return comparisons, one row each, without their slices."""
    return flat(
        [
            {name: value for name, value in dataclasses.asdict(item).items() if name not in ("slices", "contrasts")}
            for item in items
        ]
    )


def contrasted(items: Sequence[Comparison]) -> pd.DataFrame:
    """Return comparisons on one board as people read them."""
    return pd.DataFrame(
        [
            {
                "first": item.first,
                "second": item.second,
                "difference": _rounded(item.difference),
                "low": _rounded(item.low),
                "high": _rounded(item.high),
                "p (Holm)": _rounded(item.p_holm, 4),
                "first wins": _rounded(item.wins, 2),
                "effect size": _rounded(item.effect_size, 2),
                "n": item.n,
                "winner": item.winner or "not told apart",
            }
            for item in items
        ]
    )


def flat(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table whose cells are numbers and texts."""
    return pd.DataFrame([{name: _plain(value) for name, value in row.items()} for row in rows])


def _span(rank: int, low: int | None, high: int | None) -> str:
    return str(rank) if low == high else f"{rank} ({low}–{high})"


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
