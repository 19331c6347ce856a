"""How far the scores of a method were checked by whoever keeps the store: the rungs of a ladder, and one step on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from benchmark.errors import InvalidInput, UnknownName

Rung = Literal["self-reported", "recomputed", "re-run"]
"""Scores were handed in; explanations were, and were scored here; explanations were made here too."""

RUNGS: tuple[Rung, ...] = get_args(Rung)
"""All rungs, the lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One check of the scores of a method on a task with an encoder, as tables name them.

    ``n_agreeing`` of the ``n_units`` units that were looked at agreed with what was handed in, within ``tolerance``, an
    absolute difference in the unit of what was compared (``None`` where nothing was). ``evidence`` is plain data: which
    units, the largest difference, a commit. An unknown rung raises ``UnknownName``, impossible counts ``InvalidInput``.
    """

    label: str
    method_version: int
    task: str
    encoder: str
    revision: str
    rung: Rung
    n_units: int = 0
    n_agreeing: int = 0
    tolerance: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.rung not in RUNGS:
            raise UnknownName("rung", self.rung, RUNGS)
        if not 0 <= self.n_agreeing <= self.n_units:
            raise InvalidInput(f"{self.n_agreeing} of {self.n_units} units cannot agree; give 0 <= n_agreeing <= n_units")
