"""Write the page of all tasks and metrics from what is registered: ``python scripts/catalogue.py docs/tasks.md``."""

import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path

from benchmark.runner.catalogue import register
from benchmark.tasks.base import TASKS

LARGEST = 1e300
HEAD = """# Tasks and metrics

A task is data, protocol, metrics and a version; what changes its numbers changes its version. Its first metric is its headline.
This page is written by `python scripts/catalogue.py docs/tasks.md` from what is registered; `benchmark list tasks --json` and
`benchmark list metrics --json` hold the same and more.
"""


def page() -> str:
    """Return the page."""
    register()
    return "\n".join([HEAD, "## Tasks", *tasks(), "## Metrics", *metrics()]).rstrip() + "\n"


def tasks() -> list[str]:
    """Group what is the same on several data sets into one row."""
    same: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for task in TASKS.values():
        family = task.id.removeprefix(f"{task.data}-")
        same[
            family, task.summary.replace(f"{task.data}-", "-"), ", ".join(f"`{metric.name}`" for metric in task.metrics)
        ].append(task.data)
    lines = ["", "| task | on | what it measures | metrics |", "| --- | --- | --- | --- |"]
    for (family, summary, names), data in same.items():
        lines.append(f"| `-{family}` | {', '.join(data)} | {summary} | {names} |")
    return [*lines, ""]


def metrics() -> list[str]:
    used = {metric.name: metric for task in TASKS.values() for metric in task.metrics}
    lines: list[str] = []
    for track, found in groupby(sorted(used.values(), key=lambda metric: metric.track), key=lambda metric: metric.track):
        lines += ["", f"### {track.capitalize()}", ""]
        lines += ["| metric | what | unit, range | better | chance | source | known failures |", "| --- " * 7 + "|"]
        for metric in found:
            high = "∞" if metric.high > LARGEST else f"{metric.high:g}"
            extent = f"{metric.unit}, {metric.low:g} to {high}"
            cells = (metric.summary, extent, metric.better, metric.chance, metric.source, metric.known_failures or "–")
            lines.append(f"| `{metric.name}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
