"""The performance report as one figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.speed.fits import FitCost
from benchmark.speed.report import Report

COLOURS = {
    "library": "#8a8a8a",
    "naive": "#d55e00",
    "mask_pixels": "#0072b2",
    "drop_tokens": "#009e73",
    "ours": "#0072b2",
}  # Okabe and Ito
LINES = ("#0072b2", "#009e73", "#d55e00", "#cc79a7")


def draw(report: Report, path: Path) -> None:
    """Write the parts that were measured as panels; the suffix (png, svg, pdf) gives the format."""
    panels = [
        (bool(report.game), _game),
        (bool(report.game), _peak),
        (bool(report.fits), _fit_time),
        (bool(report.fits), _fit_memory),
        (bool(report.fits), _fit_budget),
        (bool(report.growth), _growth),
        (bool(report.methods), _methods),
    ]
    wanted = [panel for there, panel in panels if there]
    columns = min(len(wanted), 2) or 1
    rows = max(-(-len(wanted) // columns), 1)
    figure = Figure(figsize=(6.2 * columns, 4.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, [*wanted, *[_nothing] * (rows * columns - len(wanted))], strict=True):
        panel(axes, report)
    figure.suptitle(f"{report.device}, {report.threads} thread{'s' * (report.threads > 1)}, {report.clock}", fontsize=11)
    figure.savefig(path, dpi=130)


def _nothing(axes: Axes, report: Report) -> None:
    del report
    axes.set_axis_off()


def _game(axes: Axes, report: Report) -> None:
    """Draw coalitions per second as multiples of the library's forward pass."""
    _bars(
        axes,
        report,
        [row.of_library.median for row in report.game],
        {id(row): (row.of_library.low, row.of_library.high) for row in report.game},
    )
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("speed, library's forward pass = 1")
    axes.set_title("Masked images per second")
    axes.legend(fontsize=8)


def _peak(axes: Axes, report: Report) -> None:
    _bars(axes, report, [row.of_peak for row in report.game], {})
    axes.set_ylabel("executed operations / matrix product peak")
    axes.set_title("Share of the device's peak")


def _bars(axes: Axes, report: Report, heights: list[float], ranges: dict[int, tuple[float, float]]) -> None:
    groups = list(dict.fromkeys((row.size, row.precision) for row in report.game))
    ways = list(dict.fromkeys(row.way for row in report.game))
    width = 0.8 / len(ways)
    for number, way in enumerate(ways):
        rows = [(row, height) for row, height in zip(report.game, heights, strict=True) if row.way == way]
        places = [groups.index((row.size, row.precision)) + (number - (len(ways) - 1) / 2) * width for row, _ in rows]
        axes.bar(places, [height for _, height in rows], width, label=way, color=COLOURS[way])
        for place, (row, _) in zip(places, rows, strict=True):
            if id(row) in ranges:
                axes.vlines(place, *ranges[id(row)], color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [f"{size}\n{precision}" for size, precision in groups], fontsize=7)


def _fit_time(axes: Axes, report: Report) -> None:
    _fit_lines(axes, [row for row in report.fits if row.against == "players"], "n_players", "seconds")
    axes.set_xlabel("players")
    axes.set_title("FIxLIP's fit: time")


def _fit_memory(axes: Axes, report: Report) -> None:
    _fit_lines(axes, [row for row in report.fits if row.against == "players"], "n_players", "megabytes")
    axes.set_xlabel("players")
    axes.set_title("FIxLIP's fit: memory")
    axes.legend(fontsize=8)


def _fit_budget(axes: Axes, report: Report) -> None:
    _fit_lines(axes, [row for row in report.fits if row.against == "budget"], "budget", "seconds")
    axes.set_xlabel("values fitted")
    axes.set_title("FIxLIP's fit of 49 patches: time")


def _fit_lines(axes: Axes, rows: Sequence[FitCost], size: Literal["n_players", "budget"], what: str) -> None:
    for pairs, style in (("cross", "-"), ("all", "--")):
        for way in ("ours", "naive"):
            points = sorted(
                (getattr(row, size), row.megabytes if what == "megabytes" else row.seconds.median)
                for row in rows
                if (row.pairs, row.way) == (pairs, way)
            )
            if points:
                label = f"{way}, {'patch-token' if pairs == 'cross' else 'all'} pairs"
                axes.loglog(*zip(*points, strict=True), style, marker="o", ms=3, color=COLOURS[way], label=label)
    sizes = sorted({getattr(row, size) for row in rows})
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=30, fontsize=7)
    axes.minorticks_off()
    axes.set_ylabel("MB of arrays" if what == "megabytes" else "seconds")


def _growth(axes: Axes, report: Report) -> None:
    for colour, found in zip(LINES, report.growth, strict=False):
        medians = np.array([spread.median for spread in found.seconds])
        label = f"{found.against}: slope {found.slope:.2f}"
        axes.loglog(found.sizes, medians, marker="o", ms=3, color=colour, label=label)
        axes.fill_between(found.sizes, [s.low for s in found.seconds], [s.high for s in found.seconds], color=colour, alpha=0.2)
    axes.set_xlabel("samples, patches, tokens or image coalitions")
    axes.set_ylabel("seconds")
    axes.set_title("How cost grows")
    axes.legend(fontsize=8)


def _methods(axes: Axes, report: Report) -> None:
    seconds = {f"{row.method} ({row.encoder})": row.seconds.median for row in report.methods if row.seconds is not None}
    ordered = sorted(seconds, key=lambda name: seconds[name])
    axes.barh(ordered, [seconds[name] for name in ordered], color=COLOURS["ours"])
    axes.set_xscale("log")
    axes.set_xlabel("seconds per pair")
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title("Methods with default parameters")
