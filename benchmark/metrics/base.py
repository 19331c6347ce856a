"""What a number means, as data beside the function that computes it. Nothing here or below imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmark.types import Better, Registry

Track = Literal[
    "localisation",
    "recognition",
    "image faithfulness",
    "text faithfulness",
    "joint faithfulness",
    "interaction faithfulness",
    "sanity",
    "robustness",
    "complexity",
    "cost",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One value of one metric; ``chance`` is what a random explanation of this very sample would expect.

    ``degenerate`` marks an explanation the metric cannot read (constant, no positive mass): its value is then the
    chance value. ``flags`` holds side facts such as the share of tied players.
    """

    value: float
    chance: float | None = None
    degenerate: bool = False
    flags: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Name, unit, range, direction and source of a metric; direction is read only from here."""

    name: str
    unit: str
    better: Better
    low: float
    high: float
    track: Track
    summary: str
    source: str
    chance: str
    known_failures: str = ""

    def __post_init__(self) -> None:
        METRICS.add(self.name, self)


METRICS: Registry[Metric] = Registry("metric")
