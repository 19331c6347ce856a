"""Score against cost: on every board the methods that no other one beats in both.

Cost is counted by the harness and averaged over the samples. A backward pass counts as two forward passes: it multiplies
with each weight matrix twice, for the gradient of the input and that of the weights (Kaplan et al. 2020, arXiv 2001.08361,
section 2.1), which is an upper bound where only inputs need gradients. An image and a text count one forward each,
whatever the size of their towers.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from benchmark.ranking.boards import Row
from benchmark.types import Better

BACKWARD = 2.0
"""Forward passes that one backward pass is worth."""

CONTROLS = ("random", "uniform", "centre", "edge")
"""What explains nothing, and is free; a method that costs and scores less is dominated by it."""

TRUTH_READERS = ("oracle",)
"""Shown the truth, so not to be had at any price; left out."""

CostUnit = Literal["forwards", "seconds"]
UNITS: dict[CostUnit, str] = {"forwards": "forward-equivalents", "seconds": "seconds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """One method: its mean score with its 95 % interval, and its mean cost of one explanation.

    ``dominated_by`` names the best of the methods of the front that score at least as well for at most the same cost, and
    better in one; it is ``None`` on the front. Means decide, not intervals.
    """

    method: str
    mean: float
    low: float
    high: float
    cost: float
    control: bool
    dominated_by: str | None

    @property
    def on_front(self) -> bool:
        return self.dominated_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoBoard:
    """The ranked methods of one board, the cheapest first; ``left_out`` says in one sentence each who is not there and why."""

    task: str
    model: str
    metric: str
    better: Better
    unit: str
    cost_unit: str
    points: tuple[ParetoPoint, ...]
    left_out: tuple[str, ...]


def pareto(rows: Sequence[Row], cost: CostUnit = "forwards", without: Collection[str] = TRUTH_READERS) -> list[ParetoBoard]:
    """Return a Pareto view of every board with ranks; metrics of cost itself are left out.

    A method takes part if it is ranked and the harness made its explanations, since only then was their cost counted.
    """
    found: list[ParetoBoard] = []
    for (task, model, metric), group in groupby(rows, key=lambda row: (row.task, row.model, row.metric)):
        board = [row for row in group if row.rank is not None and row.method not in without]
        if not board or board[0].track == "cost":
            continue
        costs = {row.method: cost_of(row, cost) for row in board}
        counted = [row for row in board if costs[row.method] is not None]
        found.append(
            ParetoBoard(
                task=task,
                model=model,
                metric=metric,
                better=board[0].better,
                unit=board[0].unit,
                cost_unit=UNITS[cost],
                points=_points(counted, costs),
                left_out=tuple(
                    f"{row.method}: {row.badge}, so its cost was not counted" for row in board if costs[row.method] is None
                ),
            )
        )
    return found


def cost_of(row: Row, unit: CostUnit) -> float | None:
    """Return the mean cost of one explanation; ``None`` where the harness did not make it."""
    if row.badge != "re-run" or row.forwards is None or row.backwards is None:
        return None
    return row.seconds if unit == "seconds" else row.forwards + BACKWARD * row.backwards


def _points(board: Sequence[Row], costs: dict[str, float | None]) -> tuple[ParetoPoint, ...]:
    sign = -1.0 if board and board[0].better == "lower" else 1.0
    placed = [(costs[row.method] or 0.0, sign * (row.mean or 0.0), row) for row in board]
    placed.sort(key=lambda item: (item[0], -item[1], item[2].method))
    points: list[ParetoPoint] = []
    best: tuple[float, float, str] | None = None  # cost, score and name of the front's last method: the best up to this cost
    for cost, score, row in placed:
        dominated_by = best[2] if best is not None and best[:2] != (cost, score) and best[1] >= score else None
        if dominated_by is None:
            best = (cost, score, row.method)
        mean = row.mean or 0.0
        points.append(
            ParetoPoint(
                method=row.method,
                mean=mean,
                low=mean if row.low is None else row.low,
                high=mean if row.high is None else row.high,
                cost=cost,
                control=row.method in CONTROLS,
                dominated_by=dominated_by,
            )
        )
    return tuple(points)
