"""Published beside measured. A number that was not measured stays empty, with the reason."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from duckdb import DuckDBPyConnection

from benchmark.data.base import DATASETS
from benchmark.errors import BenchmarkError, DataError
from benchmark.records import content_key
from benchmark.reproduce.experiments import Experiment, Measure
from benchmark.reproduce.published import Target, targets
from benchmark.store import open_store, rows
from benchmark.tasks.base import TASKS

Verdict = Literal["within", "outside", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One published number and what was measured, ``None`` where nothing was; ``gates`` says whether it must be met."""

    experiment: str
    dataset: str
    model: str
    method: str
    metric: str
    target: float
    provenance: str
    gates: bool
    tolerance: float
    verdict: Verdict
    measured: float | None = None
    standard_error: float | None = None
    n: int = 0
    why: str | None = None


def compare(experiment: Experiment, store: Path, data_dir: Path | None = None, golden: Path | None = None) -> list[Cell]:
    """Compare one experiment: identities and recorded outputs are computed, tables are read from the store."""
    match experiment.kind:
        case "identities":
            return list(_identities(experiment))
        case "golden":
            return list(_golden(experiment, golden))
        case "table":
            return list(_table(experiment, store, data_dir))


def targets_of(experiment: Experiment) -> list[Target]:
    """Return the published numbers that an experiment answers."""
    found = [item for item in targets() if item.paper == experiment.paper and item.table in experiment.tables]
    if experiment.kind == "identities":
        return found
    model = experiment.published_model or experiment.model
    return [
        item
        for item in found
        if item.model == model
        and item.method in experiment.methods
        and item.metric in experiment.metrics
        and (not experiment.datasets or item.dataset in experiment.datasets)
    ]


def _identities(experiment: Experiment) -> Iterator[Cell]:
    from benchmark.reproduce.identities import IDENTITIES

    for target in targets_of(experiment):
        compute = IDENTITIES.get((target.table, target.dataset))
        measured = None if compute is None else compute()
        why = "nothing computes this row of targets.csv" if compute is None else None
        yield _cell(experiment, target, measured, why=why)


def _golden(experiment: Experiment, folder: Path | None) -> Iterator[Cell]:
    if folder is None:
        yield _cell(experiment, _recorded("every method", "every key"), None, why=f"needs {experiment.needs}")
        return
    from benchmark.reproduce.golden import deviations

    for method, key, deviation in deviations(folder):
        yield _cell(experiment, _recorded(method, key), deviation)


def _recorded(method: str, key: str) -> Target:
    return Target(
        paper="",
        table="",
        dataset=key,
        model="clip-small",
        method=method,
        metric="largest deviation",
        value=0.0,
        ci="",
        n=0,
        provenance="[repo]",
    )


def _table(experiment: Experiment, store: Path, data_dir: Path | None) -> Iterator[Cell]:
    found = targets_of(experiment)
    if not store.exists():
        why = _why(experiment, data_dir, f"there is no store at {store}")
        yield from (_cell(experiment, target, None, why=why) for target in found)
        return
    why: str | None = None
    with open_store(store) as connection:
        for target in found:
            measure = experiment.metrics[target.metric]
            values = _values(connection, experiment, target, measure)
            if len(values):
                error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
                yield _cell(experiment, target, float(values.mean()), error=error, n=len(values))
            else:
                why = why or _why(experiment, data_dir, f"{store} has no such scores")
                yield _cell(experiment, target, None, why=why)


def _values(connection: DuckDBPyConnection, experiment: Experiment, target: Target, measure: Measure) -> np.ndarray:
    """Return one value per sample in the published unit: the mean over seeds, scored by the task as it is defined now."""
    if measure.task not in TASKS:
        return np.zeros(0)
    models = [experiment.model, experiment.model.rpartition("/")[2]]  # a local folder is known by its name
    label, definition = experiment.methods[target.method], content_key(TASKS[measure.task].definition)
    found: dict[str, list[float]] = defaultdict(list)
    wanted = experiment.datasets.get(target.dataset, {})
    for row in rows(connection, _VALUES, [measure.task, definition, measure.metric, label, models]):
        if _is_in(row, wanted):
            found[row["sample_id"]].append(row["value"])
    return measure.scale * np.array([float(np.mean(values)) for values in found.values()])


_VALUES = """
SELECT sample_id, strata, value FROM results
WHERE task = ? AND task_hash = ? AND metric = ? AND label = ? AND list_contains(?, encoder) AND value IS NOT NULL
"""


def _is_in(row: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    strata = json.loads(row["strata"] or "{}") if wanted else {}
    return all(strata.get(name) == value for name, value in wanted.items())


def _why(experiment: Experiment, data_dir: Path | None, state: str) -> str:
    """Say what is missing, and the command that would measure it."""
    parts = [state]
    unknown = [name for name in experiment.tasks if name not in TASKS]
    if unknown:
        return f"{state}; this version has no task {', '.join(unknown)}"
    if not _is_cached(experiment.model):
        parts.append(f"the weights of {experiment.model} are not on this machine")
    places = dict.fromkeys((TASKS[name].data, TASKS[name].view) for name in experiment.tasks)
    parts += [reason for data, view in places if (reason := _missing(data, view, data_dir))]
    return f"{'; '.join(parts)}. To measure it: {experiment.command(str(data_dir or 'FOLDER'))}"


def _missing(data: str, view: str, data_dir: Path | None) -> str | None:
    try:
        return None if len(DATASETS[data](data_dir).samples(view, 1)) else f"{data} has no samples in {data_dir}"
    except BenchmarkError as error:
        return str(error) if isinstance(error, DataError) else f"{data}: {error}"


def _is_cached(model: str) -> bool:
    """Whether a model of the hub was downloaded before; nothing is loaded, and open_clip's own downloads are not known."""
    if model.startswith("open_clip:"):
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model, "config.json"), str)


def _cell(
    experiment: Experiment,
    target: Target,
    measured: float | None,
    *,
    error: float | None = None,
    n: int = 0,
    why: str | None = None,
) -> Cell:
    verdict: Verdict = "not run"
    if measured is not None:
        verdict = "within" if abs(measured - target.value) <= experiment.tolerance else "outside"
    return Cell(
        experiment=experiment.id,
        dataset=target.dataset,
        model=experiment.model or target.model,
        method=target.method,
        metric=target.metric,
        target=target.value,
        provenance=target.provenance,
        gates=target.gates,
        tolerance=experiment.tolerance,
        verdict=verdict,
        measured=measured,
        standard_error=error,
        n=n,
        why=why,
    )
