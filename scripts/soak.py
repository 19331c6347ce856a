"""A long run on the embedded encoder, watched: ``python scripts/soak.py FOLDER [--samples 2500] [--workers 2]``.

Writes ``soak.json`` (a row about every 250 units: seconds, units, resident memory of the driver and of its workers, size of the
published store) and ``soak.png`` into FOLDER, and prints what docs/scale.md shows.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark.records import UnitResult
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.progress import Progress
from benchmark.runner.run import run

METHODS = "random,uniform,centre,edge,gradient_x_input"
TASK = "scenes-pointing"
EVERY = 250
FIRST = 1_000
PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch(Progress):
    """Counts like the bar of a run, and takes a row now and then."""

    def __init__(self, title: str, n_units: int, store: Path, rows: list[dict[str, float]]) -> None:
        super().__init__(title, n_units)
        self._store, self._rows = store, rows
        self._start = time.monotonic()
        self._n = 0

    def count(self, result: UnitResult) -> None:
        super().count(result)
        self._n += 1
        if self._n % EVERY == 0:
            self._rows.append(
                {
                    "seconds": time.monotonic() - self._start,
                    "units": self._n,
                    "driver_mb": resident(os.getpid()),
                    "workers_mb": sum(resident(child) for child in children(os.getpid())),
                    "store_bytes": self._store.stat().st_size if self._store.exists() else 0,
                }
            )


def resident(process: int) -> float:
    """Return the resident memory of a process in MB; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / 1e6
    except (OSError, IndexError):
        return 0.0


def children(process: int) -> list[int]:
    """Return the processes that a process started, and theirs."""
    found = [
        int(child) for task in Path(f"/proc/{process}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return found + [grandchild for child in found if Path(f"/proc/{child}/task").is_dir() for grandchild in children(child)]


def slope(rows: Sequence[dict[str, float]], name: str) -> float:
    """Return the least-squares growth of a column over 1,000 units."""
    units = [row["units"] / 1_000 for row in rows]
    values = [row[name] for row in rows]
    middle, mean = sum(units) / len(units), sum(values) / len(values)
    spread = sum((unit - middle) ** 2 for unit in units)
    return sum((unit - middle) * (value - mean) for unit, value in zip(units, values, strict=True)) / spread


def report(rows: Sequence[dict[str, float]], final: dict[str, float]) -> dict[str, Any]:
    """Return what a soak came to. The start, when workers load and caches fill, is left out of slopes.

    The store's size is predicted by a line through the first 1,000 units: an empty store has a size too.
    """
    settled = [row for row in rows if row["units"] >= FIRST]
    young = [row for row in rows if row["units"] <= FIRST and row["store_bytes"] > 0]
    half = len(settled) // 2
    rates = [
        (part[-1]["units"] - part[0]["units"]) / (part[-1]["seconds"] - part[0]["seconds"])
        for part in (settled[: half + 1], settled[half:])
    ]
    return {
        "units": final["units"],
        "seconds": final["seconds"],
        "units_per_second_first_half": rates[0],
        "units_per_second_second_half": rates[1],
        "driver_mb_first_and_last": [settled[0]["driver_mb"], settled[-1]["driver_mb"]],
        "driver_mb_per_1000_units": slope(settled, "driver_mb"),
        "workers_mb_first_and_last": [settled[0]["workers_mb"], settled[-1]["workers_mb"]],
        "workers_mb_per_1000_units": slope(settled, "workers_mb"),
        "store_bytes": final["store_bytes"],
        "store_bytes_predicted": young[-1]["store_bytes"] + (final["units"] - FIRST) / 1_000 * slope(young, "store_bytes"),
    }


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    figure = Figure(figsize=(10, 3), dpi=100, layout="constrained")
    memory, rate, size = figure.subplots(1, 3)
    units = [row["units"] for row in rows]
    memory.plot(units, [row["driver_mb"] for row in rows], label="driver")
    memory.plot(units, [row["workers_mb"] for row in rows], label="workers together")
    memory.set_ylabel("resident memory (MB)")
    memory.legend(frameon=False)
    pairs = list(pairwise(rows))
    rate.plot(units[1:], [(b["units"] - a["units"]) / (b["seconds"] - a["seconds"]) for a, b in pairs])
    rate.set_ylabel("units per second")
    size.plot(units, [row["store_bytes"] / 1e6 for row in rows])
    size.set_ylabel("published store (MB)")
    for axis in (memory, rate, size):
        axis.set_xlabel("units")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=2_500)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = asked.folder / "soak.duckdb"
    if store.exists():
        raise SystemExit(f"{store} is there already; a soak starts with nothing")
    catalogue.register()
    request = Request(methods=catalogue.methods(METHODS), tasks=catalogue.tasks(TASK), limit=asked.samples)
    source = EncoderSource(name="embedded", device="cpu")
    rows: list[dict[str, float]] = []
    began = time.monotonic()
    summary = run(
        request,
        [source],
        store,
        workers=asked.workers,
        command="scripts/soak.py",
        progress=lambda title, n_units: Watch(title, n_units, store, rows),
    )
    final = {"units": summary.n_done, "seconds": time.monotonic() - began, "store_bytes": store.stat().st_size}
    told = report(rows, final) | {"failed": summary.n_failed, "workers": asked.workers}
    (asked.folder / "soak.json").write_text(json.dumps({"report": told, "rows": rows}, indent=1) + "\n")
    draw(rows, asked.folder / "soak.png")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
