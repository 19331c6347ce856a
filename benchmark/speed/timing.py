"""Clocks, and timing that lets the things compared take turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import torch


@dataclass(frozen=True, slots=True)
class Clock:
    """What seconds are: processor time of one thread on a CPU, which other work disturbs least, or else the wall's."""

    device: torch.device
    threads: int

    @property
    def kind(self) -> str:
        return "processor time" if self.device.type == "cpu" and self.threads == 1 else "wall-clock time"

    def read(self) -> float:
        """Return the time in seconds, after everything that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return process_time() if self.kind == "processor time" else perf_counter()

    def time(self, work: Callable[[], object]) -> float:
        """Return the seconds that ``work`` takes."""
        start = self.read()
        work()
        return self.read() - start


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements, and the two ends."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, measured: Sequence[float]) -> "Spread":
        return cls(median(measured), min(measured), max(measured))


def in_turn(clock: Clock, contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return each contender's seconds, round by round; all take their turn in every round, and the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, contender in contenders.items():
            took = clock.time(contender)
            if turn:
                seconds[name].append(took)
    return seconds


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Return the quotients of two contenders' times, taken round by round."""
    return Spread.of([a / b for a, b in zip(numerator, denominator, strict=True)])
