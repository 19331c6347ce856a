"""``benchmark list``: what there is to run, and what was run."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from json import loads
from pathlib import Path
from typing import Any

import click

from benchmark.cli.base import json_option, print_table, store_option
from benchmark.explainers.base import EXPLAINERS
from benchmark.metrics.base import METRICS
from benchmark.plugins import ENCODERS, source
from benchmark.runner.catalogue import defaults, register
from benchmark.store import open_store, rows
from benchmark.tasks.base import TASKS

Listed = dict[str, Any]


@click.command("list")
@click.argument("kind", type=click.Choice(["methods", "tasks", "models", "metrics", "runs"]))
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Keep what has this value, or holds it among several.")
@store_option
@json_option
def list_command(kind: str, where: tuple[str, ...], store: Path, as_json: bool) -> None:
    """List methods, tasks, models, metrics or runs."""
    if kind == "runs":
        found = _runs(store)
    else:
        register()
        found = list(LISTS[kind]())
    for condition in where:
        name, sign, value = condition.partition("=")
        if not sign:
            raise click.UsageError(f"--where takes FIELD=VALUE, not {condition!r}")
        if found and name not in found[0]:
            raise click.UsageError(f"{kind} have no field {name!r}; they have: {', '.join(found[0])}")
        found = [row for row in found if _has(row[name], value)]
    print_table(found, as_json, SHOWN[kind])


def _methods() -> Iterator[Listed]:
    for name, kind in EXPLAINERS.items():
        yield {
            "id": name,
            "version": kind.version,
            "source": source(kind),
            "summary": _summary(kind),
            "yields": list(kind.yields),
            "needs": list(kind.needs),
            "deterministic": kind.deterministic,
            "baseline": kind.baseline,
            "reads_truth": kind.reads_truth,
            "parameters": defaults(kind),
            "paper": kind.paper,
            "bibtex": kind.bibtex,
            "published": dict(kind.published),
            "differs": kind.differs,
        }


def _tasks() -> Iterator[Listed]:
    for name, task in TASKS.items():
        yield {
            "id": name,
            "version": task.version,
            "summary": task.summary,
            "data": task.data,
            "view": task.view,
            "protocol": type(task.protocol).__name__,
            "metrics": list(task.protocol.metrics),
            "track": list(dict.fromkeys(metric.track for metric in task.metrics)),
            "tiers": dict(task.tiers),
        }


def _models() -> Iterator[Listed]:
    from benchmark.encoders import KNOWN

    for name, summary in KNOWN.items():
        yield {"id": name, "summary": summary}
    for name, loader in ENCODERS.items():
        yield {"id": f"{name}:...", "summary": _summary(loader)}


def _metrics() -> Iterator[Listed]:
    for name, metric in METRICS.items():
        tasks = [task for task, of in TASKS.items() if name in of.protocol.metrics]
        yield {"id": name, **{key: value for key, value in dataclasses.asdict(metric).items() if key != "name"}, "tasks": tasks}


def _runs(store: Path) -> list[Listed]:
    with open_store(store) as connection:
        found = rows(connection, "SELECT run_id AS id, * EXCLUDE (run_id) FROM runs ORDER BY started")
    return [row | {"versions": loads(row["versions"]), "hardware": loads(row["hardware"])} for row in found]


LISTS: dict[str, Callable[[], Iterator[Listed]]] = {
    "methods": _methods,
    "tasks": _tasks,
    "models": _models,
    "metrics": _metrics,
}

SHOWN = {
    "methods": ("id", "version", "yields", "parameters", "summary"),
    "tasks": ("id", "version", "view", "summary"),
    "models": ("id", "summary"),
    "metrics": ("id", "unit", "better", "track", "summary"),
    "runs": ("id", "status", "started", "finished", "n_units", "n_failed", "device", "command"),
}


def _summary(of: object) -> str:
    return (inspect.getdoc(of) or "").partition("\n")[0]


def _has(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return any(str(item) == wanted for item in value)
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    return str(value) == wanted
