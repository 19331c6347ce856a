"""Write what methods, metrics, tasks and data sets say of themselves: ``python -m benchmark.site.freeze``.

This is the one module here that loads torch; no page imports it.
"""

import dataclasses
import inspect
import json
from typing import Any

from benchmark.site.catalogue import FILE


def frozen() -> dict[str, Any]:
    """Return the package's own cards; plug-ins and submissions are left out."""
    from benchmark.data.base import DATASETS
    from benchmark.explainers.base import EXPLAINERS
    from benchmark.metrics.base import METRICS
    from benchmark.runner.catalogue import register
    from benchmark.tasks.base import TASKS

    register()
    verdicts = _families()
    methods = {name: kind for name, kind in EXPLAINERS.items() if kind.__module__.startswith("benchmark.")}
    data = {name: kind for name, kind in DATASETS.items() if kind.__module__.startswith("benchmark.")}
    tasks = {name: task for name, task in TASKS.items() if type(task.protocol).__module__.startswith("benchmark.")}
    used = {metric for task in tasks.values() for metric in task.protocol.metrics}
    return {
        "methods": {name: _method(kind) | {"families": verdicts[name]} for name, kind in sorted(methods.items())},
        "metrics": {name: _metric(METRICS[name]) for name in sorted(used)},
        "tasks": {name: _task(task) for name, task in sorted(tasks.items())},
        "data": {name: _data(kind) for name, kind in sorted(data.items())},
    }


def text() -> str:
    """Return the file as it should be."""
    return json.dumps(frozen(), indent=1, ensure_ascii=False, default=str, sort_keys=True) + "\n"


def _method(kind: Any) -> dict[str, Any]:
    return {
        "version": kind.version,
        "summary": _first_paragraph(kind),
        "yields": list(kind.yields),
        "needs": list(kind.needs),
        "deterministic": kind.deterministic,
        "baseline": kind.baseline,
        "reads_truth": kind.reads_truth,
        "parameters": kind.configure({}).parameters,
        "published": dict(kind.published),
        "paper": kind.paper,
        "bibtex": kind.bibtex,
        "differs": kind.differs,
    }


def _families() -> dict[str, dict[str, tuple[str, str]]]:
    """Ask every method, with its defaults, whether it serves a small model of each family, and what stands in for what."""
    from benchmark.families import encoders, kinds

    served = encoders()
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for kind in kinds():
        explainer = kind.configure({})
        found[kind.name] = {}
        for family, encoder in served.items():
            if reason := explainer.unsupported(encoder):
                found[kind.name][family] = ("refused", reason)
            elif stand_in := explainer.adapted(encoder):
                found[kind.name][family] = ("adapted", stand_in)
            else:
                found[kind.name][family] = ("works", "")
    return found


def _metric(metric: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(metric).items() if name != "name"}


def _task(task: Any) -> dict[str, Any]:
    own = {"task", "version", "data", "view", "protocol"}
    return {
        "version": task.version,
        "summary": task.summary,
        "data": task.data,
        "view": task.view,
        "protocol": type(task.protocol).__name__,
        "metrics": list(task.protocol.metrics),
        "tiers": dict(task.tiers),
        "settings": {name: str(value) for name, value in task.definition.items() if name not in own},
    }


def _data(kind: Any) -> dict[str, Any]:
    return {
        "version": kind.version,
        "summary": kind.summary,
        "licence": kind.licence,
        "synthetic": kind.synthetic,
        "shows_images": kind.shows_images,
        "views": list(kind.views),
        "card": kind().card,
    }


def _first_paragraph(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].replace("``", "").split())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
