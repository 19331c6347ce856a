"""From frozen rows back to units of work that the runner takes: the method, the sample, the tasks that scored it."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from benchmark.data import DATASETS
from benchmark.data.base import DataSet, Sample
from benchmark.errors import BenchmarkError
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.records import Origin, canonical, content_key
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Group, Scoring, Unit, identity_of, record_of
from benchmark.store import rows
from benchmark.tasks import TASKS

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


class CannotRebuild(BenchmarkError):
    """A unit that this machine or this version cannot make again; the message says why."""


class NotTheSame(BenchmarkError):
    """A row that speaks of another sample or other parameters than its key; the message says which."""


class Rebuilder:
    """Builds units from rows of ``explanations`` and ``scores``; data sets and encoders are loaded when first asked for.

    ``explainer_of`` gives a method that is not registered, such as a submission's, by name, encoder and revision. ``models``
    are the only encoders that may be loaded; ``None`` is any.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        data_dir: Path | None = None,
        explainer_of: Callable[[str, str, str], Explainer] | None = None,
        models: Collection[str] | None = None,
    ) -> None:
        self._connection, self._data_dir, self._explainer_of = connection, data_dir, explainer_of
        self._models = models
        self._sets: dict[str, DataSet | str] = {}
        self._views: dict[tuple[str, str], Sequence[Sample]] = {}
        self._encoders: dict[tuple[str, str], DualEncoder | str] = {}
        self._given_explainers: dict[tuple[str, str, str], Explainer] = {}

    def scores(self, unit_key: str) -> list[dict[str, Any]]:
        """Return the frozen scores of a unit."""
        query = "SELECT * FROM scores WHERE unit_key = ? ORDER BY task, metric"
        return rows(self._connection, query, [unit_key])

    def group(self, unit: Mapping[str, Any], explainer: Explainer | None = None) -> Group:
        """Return one unit with its sample and every task that scored it; what cannot be made here raises ``CannotRebuild``.

        ``explainer`` stands for the method where nothing has to be explained.
        """
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for score in self.scores(unit["unit_key"]):
            found[score["task"]].append(score)
        if not found:
            raise CannotRebuild("no task scored it")
        views: dict[str, Sample] = {}
        scorings: list[Scoring] = []
        for name, scores in found.items():
            scoring, sample = self._scoring(name, scores)
            views.setdefault(scoring.view, sample)
            scorings.append(scoring)
        sample = next(iter(views.values()))
        record = record_of(unit["data"], unit["data_version"], sample)
        explainer = explainer or self._explainer(unit)
        origin = Origin(
            **{name: unit[name] for name in ("encoder", "revision", "method", "method_version", "label", "seed")},
            parameters=json.loads(unit["parameters"]),
        )
        key = origin.unit_key(identity_of(record, sample, explainer))
        if key != unit["unit_key"]:
            raise NotTheSame(
                f"the sample, the parameters or the seed are not those of its key {unit['unit_key']}; they give {key}"
            )
        made = Unit(key=key, origin=origin, explainer=explainer, scorings=tuple(scorings))
        return Group(record=record, views=views, units=(made,))

    def encoder(self, name: str, revision: str) -> "DualEncoder":
        """Return a loaded encoder of a revision; without its weights, ``CannotRebuild``."""
        if self._models is not None and name not in self._models:
            raise CannotRebuild(f"the encoder {name} is not among those to load here ({', '.join(self._models)})")
        if (name, revision) not in self._encoders:
            self._encoders[name, revision] = self._load(name, revision)
        found = self._encoders[name, revision]
        if isinstance(found, str):
            raise CannotRebuild(found)
        return found

    def _load(self, name: str, revision: str) -> "DualEncoder | str":
        source = EncoderSource(name=name, revision=revision if name.count("/") == 1 else None, device="cpu")
        try:
            encoder = source.load()
        except (BenchmarkError, OSError) as error:
            return f"the encoder {name} cannot be loaded: {str(error).splitlines()[0]}"
        if (encoder.revision or "") != revision:
            return f"the encoder {name} is at revision {encoder.revision or 'none'} here, and was at {revision or 'none'}"
        return encoder

    def _scoring(self, name: str, scores: list[dict[str, Any]]) -> tuple[Scoring, Sample]:
        if name not in TASKS:
            raise CannotRebuild(f"there is no task {name} in this version")
        task, first = TASKS[name], scores[0]
        if content_key(task.definition) != first["task_hash"]:
            raise CannotRebuild(f"{name} is now version {task.version} and defined differently (then: {first['task_version']})")
        scoring = Scoring(
            task=name,
            task_version=task.version,
            task_hash=first["task_hash"],
            protocol=task.protocol,
            view=task.view,
            position=first["position"],
            metrics=tuple(score["metric"] for score in scores),
        )
        return scoring, self._sample(task.data, task.view, first)

    def _sample(self, name: str, view: str, score: Mapping[str, Any]) -> Sample:
        if name not in self._sets:
            self._sets[name] = self._open(name)
        data = self._sets[name]
        if isinstance(data, str):
            raise CannotRebuild(data)
        if data.revision != score["data_version"]:
            raise CannotRebuild(f"{name} is at version {data.revision} here, and was at {score['data_version']}")
        samples = self._read(data, view, score["position"])
        if not 0 <= score["position"] < len(samples) or samples[score["position"]].id != score["sample_id"]:
            raise NotTheSame(f"sample {score['sample_id']} is not at place {score['position']} of {name}, {view}")
        return samples[score["position"]]

    def _open(self, name: str) -> "DataSet | str":
        try:
            data = DATASETS[name](self._data_dir)
            _ = data.revision
        except (BenchmarkError, OSError) as error:
            return f"the data set {name} is not here: {str(error).splitlines()[0]}"
        return data

    def _read(self, data: DataSet, view: str, position: int) -> Sequence[Sample]:
        """Return a view of the data, with all samples that rows of it speak of."""
        if (data.name, view) not in self._views:
            query = "SELECT max(position) + 1 FROM scores WHERE data = ?"
            (most,) = self._connection.execute(query, [data.name]).fetchone() or (position + 1,)
            try:
                self._views[data.name, view] = data.samples(view, most)
            except (BenchmarkError, OSError) as error:
                raise CannotRebuild(f"the data set {data.name} cannot be read: {str(error).splitlines()[0]}") from error
        return self._views[data.name, view]

    def _explainer(self, unit: Mapping[str, Any]) -> Explainer:
        name, parameters = unit["method"], json.loads(unit["parameters"])
        if name in EXPLAINERS:
            explainer = EXPLAINERS[name].configure(parameters)
        elif self._explainer_of is not None:
            explainer = self._given(name, unit["encoder"], unit["revision"])
            if canonical(explainer.parameters) != canonical(parameters):
                raise NotTheSame(f"{name} has other parameters here: {canonical(explainer.parameters)}")
        else:
            raise CannotRebuild(f"the method {name} is not installed here")
        if explainer.version != unit["method_version"]:
            raise CannotRebuild(f"{name} is version {explainer.version} here, and was version {unit['method_version']}")
        return explainer

    def _given(self, name: str, encoder: str, revision: str) -> Explainer:
        if (name, encoder, revision) not in self._given_explainers:
            assert self._explainer_of is not None  # whoever asks has seen it
            try:
                self._given_explainers[name, encoder, revision] = self._explainer_of(name, encoder, revision)
            except BenchmarkError as error:
                raise CannotRebuild(f"the method {name} cannot be run here: {error}") from error
        return self._given_explainers[name, encoder, revision]
