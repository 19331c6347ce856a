"""The performance report: what was measured, on what, as one value that prints as a table and saves as JSON."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import torch

from benchmark.encoders.precision import Precision, checked
from benchmark.ranking.tables import columns
from benchmark.runner.environment import hardware, package_versions
from benchmark.speed import fits, growth, methods, settings, throughput
from benchmark.speed.encoders import SIZES
from benchmark.speed.fits import FitCost
from benchmark.speed.growth import Growth
from benchmark.speed.methods import EndToEnd, MethodCost
from benchmark.speed.settings import Setting
from benchmark.speed.throughput import Throughput
from benchmark.speed.timing import Clock, Spread

Part = Literal["game", "methods", "fit", "end-to-end", "growth", "settings"]
PARTS: tuple[Part, ...] = get_args(Part)
QUICK_BATCH = {"embedded": 32, "vit-b-32": 8, "vit-b-16": 2, "vit-l-14": 1}
FULL_BATCH = {"embedded": 64, "vit-b-32": 32, "vit-b-16": 8, "vit-l-14": 4}
GPU_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user asked to have measured."""

    sizes: Sequence[str] = tuple(SIZES)
    parts: Sequence[Part] = PARTS
    precisions: Sequence[str] = ("float32", "bfloat16")
    names: Sequence[str] = ()
    quick: bool = False
    full: bool = False
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of one run of ``benchmark speed``; a part that was not asked for is empty.

    ``load`` is the machine's load average before and after, ``None`` where the system has none: at more than the threads
    measured, other work ran beside. ``peaks`` are operations per second of a large matrix product.
    """

    made: str
    device: str
    threads: int
    clock: str
    quick: bool
    full: bool
    load: tuple[float, float] | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    peaks: dict[str, float] = field(default_factory=dict[str, float])
    game: tuple[Throughput, ...] = ()
    methods: tuple[MethodCost, ...] = ()
    fits: tuple[FitCost, ...] = ()
    end_to_end: tuple[EndToEnd, ...] = ()
    growth: tuple[Growth, ...] = ()
    settings: tuple[Setting, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def text(self) -> str:
        """Return every part as a table."""
        return "\n\n".join(self._sections())

    def _sections(self) -> Iterator[str]:
        load = f", load {self.load[0]:.1f} before and {self.load[1]:.1f} after" if self.load else ""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        yield f"{self.device}, {threads}, {self.clock}, torch {self.versions['torch']}{load}"
        if self.peaks:
            peaks = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.peaks.items())
            yield f"matrix product peak, GFLOP/s: {peaks}"
        if self.game:
            head = ["size", "precision", "way", "coalitions/s", "x library (range)", "of peak"]
            rows = [
                [r.size, r.precision, r.way, f"{r.per_second.median:,.4g}", _ranged(r.of_library), f"{r.of_peak:.0%}"]
                for r in self.game
            ]
            yield columns([head, *rows], left=(0, 1, 2))
        if self.methods:
            head = ["method", "encoder", "s/pair", "library passes", "forwards", "backwards", "MB"]
            yield columns([head, *(_method_cells(row) for row in self.methods)], left=(0, 1))
        if self.fits:
            head = ["fit", "way", "players", "budget", "ms", "MB", "difference"]
            rows = [
                [
                    r.pairs,
                    r.way,
                    str(r.n_players),
                    f"{r.budget:,}",
                    f"{1e3 * r.seconds.median:,.4g}",
                    f"{r.megabytes:,.1f}",
                    _exponent(r.difference),
                ]
                for r in self.fits
            ]
            yield columns([head, *rows], left=(0, 1))
        if self.end_to_end:
            head = ["work", "encoder", "way", "pairs/hour", "x naive (range)", "difference"]
            rows = [
                [r.work, r.encoder, r.way, f"{r.pairs_per_hour.median:,.4g}", _ranged(r.of_naive), _exponent(r.difference)]
                for r in self.end_to_end
            ]
            yield columns([head, *rows], left=(0, 1, 2))
        if self.growth:
            head = ["grows with", "work", "sizes", "seconds", "slope"]
            rows = [
                [
                    g.against,
                    g.work,
                    " ".join(map(str, g.sizes)),
                    " ".join(f"{s.median:.3g}" for s in g.seconds),
                    f"{g.slope:.2f}",
                ]
                for g in self.growth
            ]
            yield columns([head, *rows], left=(0, 1, 2, 3))
        if self.settings:
            head = ["size", "setting", "coalitions/s", "x default (range)"]
            rows = [[s.size, s.setting, f"{s.per_second.median:,.4g}", _ranged(s.gain)] for s in self.settings]
            yield columns([head, *rows], left=(0, 1))


def make(device: torch.device, asked: Asked, note: Callable[[str], None] = lambda text: None) -> Iterator[Report]:
    """Measure what is asked and yield the report so far after every part; ``note`` hears what is being measured."""
    precisions: list[Precision] = [checked(name, device) for name in asked.precisions]
    clock, threads, load = Clock(device, asked.threads), torch.get_num_threads(), _load()
    report = Report(
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        device=_device_name(device),
        threads=asked.threads,
        clock=clock.kind,
        quick=asked.quick,
        full=asked.full,
        load=None if load is None else (load, load),
        versions=package_versions(),
        hardware=dict(hardware()),
    )
    torch.set_num_threads(asked.threads)
    try:
        for found in _measured(clock, asked, precisions, note):
            report = replace(report, **found, load=None if load is None else (load, _load() or load))
            yield report
    finally:
        torch.set_num_threads(threads)


def _measured(
    clock: Clock, asked: Asked, precisions: Sequence[Precision], note: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    if "game" in asked.parts:
        note("peak")
        peaks: dict[Precision, float] = {precision: throughput.peak(clock, precision) for precision in precisions}
        rows: list[Throughput] = []
        for size in asked.sizes:
            note(f"game: {size}")
            batch = _batch(clock, size, asked.quick)
            repeats = 2 if asked.quick else 3 if batch < 32 else 5
            rows += throughput.measure(clock, size, precisions, peaks, batch=batch, repeats=repeats)
            yield {"peaks": peaks, "game": tuple(rows)}
    if "end-to-end" in asked.parts:
        yield {"end_to_end": tuple(methods.end_to_end(clock, quick=asked.quick, note=note))}
    if "fit" in asked.parts:
        yield {"fits": tuple(fits.measure(asked.threads, quick=asked.quick, note=note))}
    if "growth" in asked.parts:
        yield {"growth": tuple(growth.measure(clock, quick=asked.quick, note=note))}
    if "methods" in asked.parts:
        n_pairs = 1 if asked.quick else 3
        yield {"methods": tuple(methods.measure(clock, asked.names, n_pairs=n_pairs, large=asked.full, note=note))}
    if "settings" in asked.parts and clock.device.type == "cpu":
        tried = [size for size in asked.sizes if size in ("embedded", "vit-b-32")]
        yield {"settings": tuple(row for size in tried for row in settings.measure(clock, size, quick=asked.quick, note=note))}


def _batch(clock: Clock, size: str, quick: bool) -> int:
    if clock.device.type == "cuda":
        return GPU_BATCH
    return (QUICK_BATCH if quick else FULL_BATCH)[size]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(hardware().get("processor", device))


def _load() -> float | None:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _ranged(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.median:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def _exponent(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:.0e}"


def _method_cells(row: MethodCost) -> list[str]:
    if row.seconds is None:
        return [row.method, row.encoder, "–", "–", "–", "–", "–"]
    measured = (row.seconds.median, row.library_passes, row.forwards, row.backwards, row.megabytes)
    return [row.method, row.encoder, *("–" if number is None else f"{number:,.4g}" for number in measured)]
