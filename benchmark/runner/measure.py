"""What a piece of work costs: passes counted by the encoder, seconds on the clock, memory at its peak."""

import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records import Cost

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

_COUNTS = ("image_forwards", "text_forwards", "backwards")


@dataclass(slots=True)
class Meter:
    """Holds the cost once the work is done."""

    cost: Cost = field(default_factory=Cost)
    megabytes_elsewhere: float = 0.0
    seconds_elsewhere: float = 0.0


_OPEN: list[Meter] = []
"""Of this process, the innermost last."""


def elsewhere(*, megabytes: float, seconds_to_start: float) -> None:
    """Tell the measurement in progress what another process held for the work, and how long that process took to start.

    Its memory is added to ours; its start is no part of the work.
    """
    if _OPEN:
        _OPEN[-1].megabytes_elsewhere = max(_OPEN[-1].megabytes_elsewhere, megabytes)
        _OPEN[-1].seconds_elsewhere += seconds_to_start


@contextmanager
def metered(encoder: "DualEncoder") -> Generator[Meter]:
    """Measure the work done in a ``with`` block, whether or not it succeeds.

    ``peak_mb`` is the most memory held above what was held at the start, on the encoder's device.
    """
    meter = Meter()
    memory = _DeviceMemory(encoder) if _is_cuda(encoder) else _ProcessMemory()
    before = [getattr(encoder.costs, name) for name in _COUNTS]
    began = time.perf_counter()
    _OPEN.append(meter)
    try:
        yield meter
    finally:
        _OPEN.pop()
        peak = memory.peak()  # waits for the device, so it is read before the clock
        seconds = time.perf_counter() - began - meter.seconds_elsewhere
        peak = peak if peak is None else peak + meter.megabytes_elsewhere
        counts = {name: round(getattr(encoder.costs, name) - start, 3) for name, start in zip(_COUNTS, before, strict=True)}
        meter.cost = Cost(**counts, seconds=seconds, peak_mb=peak)


def _is_cuda(encoder: "DualEncoder") -> bool:
    return str(encoder.device).startswith("cuda")


class _ProcessMemory:
    """Resident memory of this process, from Linux's own high-water mark; elsewhere unknown."""

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is held now
        self._start = _status("VmRSS")

    def peak(self) -> float | None:
        top = _status("VmHWM")
        return None if top is None or self._start is None else max(0.0, top - self._start)


class _DeviceMemory:
    """Memory that torch allocates on the encoder's device."""

    def __init__(self, encoder: "DualEncoder") -> None:
        self._cuda, self._device = sys.modules["torch"].cuda, encoder.device
        self._cuda.synchronize(self._device)
        self._cuda.reset_peak_memory_stats(self._device)
        self._start = self._cuda.memory_allocated(self._device)

    def peak(self) -> float | None:
        self._cuda.synchronize(self._device)
        return (self._cuda.max_memory_allocated(self._device) - self._start) / 2**20


def _status(name: str) -> float | None:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
