"""How far a score may be off when it is worked out again on another machine."""

from benchmark.metrics.base import Metric

SHARE = 1e-3
"""Of a metric's range, or absolute where it has none that is finite; ``docs/snapshots.md`` has the measurement."""

WIDEST = 1e6
"""A range above this is no range: the bound stands for "unbounded"."""

MEASURED = ("seconds", "MB")
"""Units of what a clock or the system measures: the same work never gives the same number twice."""


def tolerance(metric: Metric) -> float | None:
    """Return the largest absolute difference that counts as agreement; ``None`` for what is measured."""
    if metric.unit in MEASURED:
        return None
    width = metric.high - metric.low
    return SHARE * width if width <= WIDEST else SHARE
