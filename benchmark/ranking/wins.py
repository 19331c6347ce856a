"""Win rates: on which share of the samples that two methods share one beats the other.

A tie counts half, so the two rates of a pair sum to 1. Unlike a difference of means, a win rate has no unit and does not
depend on how much one wins by; so it says nothing about how much either.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmark.ranking.bootstrap import DIGITS
from benchmark.types import Better


@dataclass(frozen=True, slots=True, kw_only=True)
class WinTable:
    """Every method against every other on one board: ``rates[i][j]`` is the share of samples on which ``i`` beats ``j``.

    0 to 1, ties half. It is taken over the ``n[i][j]`` samples that both have a value on, and ``None`` where there are none
    and on the diagonal.
    """

    task: str
    model: str
    metric: str
    methods: tuple[str, ...]
    rates: tuple[tuple[float | None, ...], ...]
    n: tuple[tuple[int, ...], ...]


def win_rate(gaps: Float[np.ndarray, " sample"]) -> float:
    """Return the share of positive gaps, zeros half; gaps are "better by", and no more than rounding apart when 0.

    >>> win_rate(np.array([0.5, 0.0, -0.1, 0.2]))
    0.625
    """
    rounded = gaps.round(DIGITS)
    return float((rounded > 0).mean() + 0.5 * (rounded == 0).mean())


def win_table(board: tuple[str, str, str], values: Mapping[str, Float[np.ndarray, " sample"]], better: Better) -> WinTable:
    """Compare all methods of a board (its task, model and metric); a sample that a method has no value on is ``nan``."""
    sign = -1.0 if better == "lower" else 1.0
    methods = tuple(values)
    rates: list[tuple[float | None, ...]] = []
    counts: list[tuple[int, ...]] = []
    for first in methods:
        gaps = [sign * (values[first] - values[second]) for second in methods]
        shared = [gap[~np.isnan(gap)] for gap in gaps]
        counts.append(tuple(len(gap) for gap in shared))
        rates.append(
            tuple(win_rate(gap) if len(gap) and first != second else None for second, gap in zip(methods, shared, strict=True))
        )
    task, model, metric = board
    return WinTable(task=task, model=model, metric=metric, methods=methods, rates=tuple(rates), n=tuple(counts))


def mean_wins(values: Mapping[str, Float[np.ndarray, " sample"]], better: Better) -> dict[str, float]:
    """Return every method's win rate averaged over its opponents, all on the same samples; a lone method has none.

    The rates of all methods average to 0.5. One's rate depends on who else stands on the board, its rank among two does not.
    """
    if len(values) < 2:
        return {}
    sign = -1.0 if better == "lower" else 1.0
    table = {
        name: [win_rate(sign * (column - other)) for rival, other in values.items() if rival != name]
        for name, column in values.items()
    }
    return {name: float(np.mean(rates)) for name, rates in table.items()}
