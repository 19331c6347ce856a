"""Scoring stored explanations again: nothing is explained, scores that changed are replaced, missing ones are added."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmark.data.base import DATASETS, Sample
from benchmark.errors import BenchmarkError, InvalidInput, StoreError, UnknownName
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS
from benchmark.records import Origin, ScoreRecord, UnitResult, content_key
from benchmark.runner.encoders import EncoderSource, use_one_thread
from benchmark.runner.environment import describe_run
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Group, Scoring, Unit, identity_of, probe_units, record_of, with_stored
from benchmark.runner.progress import Progress
from benchmark.runner.workers import ProcessCrew, WorkerPool
from benchmark.store import StoreWriter, open_store
from benchmark.store import rows as read_rows
from benchmark.store.paths import StoreFiles
from benchmark.store.schema import utc_now
from benchmark.store.writer import origin_row, score_row
from benchmark.tasks.base import TASKS, Task

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

Prepare = Callable[[Group], Group]
ROUND_OFF = 1e-6  # relative; float32 forward passes in batches of another size differ by less


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which stored explanations to score again; ``None`` is all. Methods are labels, models as ``benchmark run`` takes them.

    A task that is named is scored on every stored explanation of its samples, whether or not it was run before; without
    names, the tasks that have scores are.
    """

    tasks: Sequence[Task] | None = None
    methods: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    models: Sequence[str] | None = None
    data_dir: Path | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of one task's scores on one encoder.

    ``largest_change`` is of values, in the metric's unit; ``largest_metric`` says whose. ``left`` counts scores that need an
    explanation which is not stored (of a sample that is not excluded any more, of a probe): only ``benchmark run`` makes it.
    ``reason`` says why nothing of the task could be scored.
    """

    task: str
    model: str
    same: int = 0
    changed: int = 0
    added: int = 0
    left: int = 0
    largest_change: float | None = None
    largest_metric: str | None = None
    reason: str | None = None

    def count(self, metric: str, old: "StoredScore | None", new: ScoreRecord) -> bool:
        """Take note of one score; return whether it has to be written."""
        if old is None:
            self.added += 1
            return True
        if old.says(new):
            self.same += 1
            return False
        self.changed += 1
        if old.value is not None and new.value is not None:
            change = abs(new.value - old.value)
            if self.largest_change is None or change > self.largest_change:
                self.largest_change, self.largest_metric = change, metric
        return True


@dataclass(frozen=True, slots=True)
class StoredScore:
    """What a store says of one score."""

    status: str
    value: float | None
    chance: float | None
    reason: str | None
    position: int
    flags: Mapping[str, float]

    def says(self, score: ScoreRecord) -> bool:
        """Whether this is the same score, up to round-off."""
        exact = (self.status, self.reason, self.position, set(self.flags))
        return (
            exact == (score.status, score.reason, score.position, set(score.flags))
            and _close(self.value, score.value)
            and _close(self.chance, score.chance)
            and all(_close(self.flags[name], flag) for name, flag in score.flags.items())
        )


def _close(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= ROUND_OFF * max(1.0, abs(old))


class StoredExplainer(Explainer):
    """Stands for a method whose explanations are stored, be it registered here or not; it never explains anything."""

    name = "stored"
    version = 0
    yields = ()
    deterministic = False

    def explain(self, encoder: "DualEncoder", pair: object, rng: np.random.Generator) -> Explanation:
        raise InvalidInput("this sample was not explained; `benchmark run` does that")


class SettledExplainer(StoredExplainer):
    """The same for a method whose every seed gives the same."""

    deterministic = True


class LateEncoder:
    """An encoder whose weights are loaded when somebody asks for an embedding, and not for tokens and geometry alone.

    ``revision`` is that of the stored results: weights of another one are refused.
    """

    _LIGHT = frozenset({"name", "revision", "device", "costs", "patch_grid", "n_patches", "pair", "frame_size"})

    def __init__(self, source: EncoderSource, name: str, revision: str) -> None:
        self._source, self._expected = source, (name, revision)

    @cached_property
    def _whole(self) -> "DualEncoder":
        encoder = self._source.load()
        found = (encoder.name, encoder.revision or "")
        if found != self._expected:
            stored, here = ("@".join(part for part in pair if part) for pair in (self._expected, found))
            raise StoreError(f"the store was made with {stored}, and {self._source.name} loads {here}; give --model")
        if str(encoder.device).startswith("cpu"):
            use_one_thread()
        return encoder

    @cached_property
    def _light(self) -> "DualEncoder":
        return without_weights(self._source, *self._expected) or self._whole

    @property
    def has_weights(self) -> bool:
        """Whether anything needed the weights so far."""
        return "_whole" in self.__dict__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._light if name in self._LIGHT and not self.has_weights else self._whole, name)


def without_weights(source: EncoderSource, name: str, revision: str) -> "DualEncoder | None":
    """Return a Hugging Face encoder that can make pairs and nothing else, or ``None`` if this one has to be loaded whole."""
    folder = files("benchmark") / "embedded" if source.name == "embedded" else Path(source.name).expanduser()
    is_folder = (Path(str(folder)) / "config.json").is_file() and not (Path(str(folder)) / "open_clip_config.json").exists()
    if source.name.startswith("open_clip:") or not (is_folder or (source.name.count("/") == 1 and revision)):
        return None
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    from benchmark import encoders
    from benchmark.encoders.huggingface import wrap

    where, pinned = (str(folder), None) if is_folder else (source.name, revision)
    if is_folder and revision != encoders.fingerprint(Path(where)):
        return None
    with suppress(OSError, ValueError, ImportError, BenchmarkError), torch.device("meta"):
        model: Any = AutoModel.from_config(AutoConfig.from_pretrained(where, revision=pinned))
        for scalar in ("logit_scale", "logit_bias"):
            if hasattr(model, scalar):
                setattr(model, scalar, torch.nn.Parameter(torch.zeros((), device="cpu")))
        processor, tokenizer = (kind.from_pretrained(where, revision=pinned) for kind in (AutoImageProcessor, AutoTokenizer))
        return wrap(model, processor, tokenizer, name=name, revision=revision)
    return None


class ScoreWriter(StoreWriter):
    """Reads what there is to score again, and replaces scores: all of them in one transaction."""

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a query, on rows that a killed run left unpublished too."""
        return read_rows(self._database, query, list(parameters))

    def replace(self, results: Iterable[UnitResult]) -> None:
        """Put scores in place of those of the same key, all or none."""
        results = list(results)
        made = {"run_id": self._run_id, "created": utc_now()}
        rows = [score_row(score) | origin_row(result) | made for result in results for score in result.scores]
        with self.transaction():
            self._insert("scores", rows, "OR REPLACE")
        self._n_units += len(results)
        self._n_failed += sum(result.failed for result in results)


def rescore(
    store: Path,
    wanted: Wanted,
    *,
    workers: int = 1,
    command: str = "",
    progress: Callable[[str, int], Progress] = Progress,
    load: Callable[[EncoderSource, str, str], Any] = LateEncoder,
) -> list[Tally]:
    """Score stored explanations with the tasks and metrics of today, and write what differs, all of it or nothing.

    Everything is computed before the first row is written, so that whatever goes wrong leaves the store as it was. A task that
    was named and cannot be scored is an error; without names it is left alone and its tally says why.
    """
    for name in wanted.metrics or ():
        METRICS[name]
    if not store.exists() and not StoreFiles(store).part.exists():
        with open_store(store):  # says so, before anything is made
            pass
    tallies: dict[tuple[str, str], Tally] = {}
    results: list[UnitResult] = []
    with ScoreWriter(store) as writer:
        for source, name, revision in _encoders(writer, wanted):
            book = _Book(writer, wanted, name, revision, tallies)
            groups = book.groups()
            for task, reason in book.reasons.items():
                tallies[name, task] = Tally(task=task, model=name, reason=reason)
            bar = progress(f"{name}, again", sum(len(group.units) for group in groups))
            for result in _score(groups, source, lambda s, n=name, r=revision: load(s, n, r), workers, book.with_stored):
                bar.count(result)
                kept = tuple(score for score in result.scores if book.differs(result, score))
                if kept:
                    results.append(replace(result, explanation=None, scores=kept, probes=()))
            bar.close()
        if results:
            seeds = tuple(sorted({result.origin.seed for result in results}))
            writer.begin(describe_run(command, "cpu", seeds))
            writer.replace(results)
            writer.end("done")
    return list(tallies.values())


def _encoders(writer: ScoreWriter, wanted: Wanted) -> Iterator[tuple[EncoderSource, str, str]]:
    """Yield what to load for every encoder of the store that is wanted: a folder is known to the store by its name alone."""
    found = writer.rows("SELECT DISTINCT encoder, revision FROM scores ORDER BY ALL")
    stored = [(row["encoder"], row["revision"]) for row in found]
    names = [name for name, _ in stored]
    for name in wanted.models or dict.fromkeys(names):
        shown = Path(name).resolve().name if Path(name).is_dir() else name
        if shown not in names:
            raise UnknownName("model with results in the store", name, names)
        for _, revision in (pair for pair in stored if pair[0] == shown):
            yield EncoderSource(name=name, revision=revision if name.count("/") == 1 else None), shown, revision


def _score(
    groups: Sequence[Group], source: EncoderSource, load: Callable[[EncoderSource], Any], workers: int, prepare: Prepare
) -> Iterator[UnitResult]:
    if not groups:
        return
    if workers > 1:
        pool = WorkerPool(ProcessCrew(source, workers), prepare)
        with closing(pool.run(groups)) as results:
            yield from results
        return
    encoder = cast("DualEncoder", load(source))
    for group in groups:
        yield from run_group(encoder, prepare(group))


@dataclass(slots=True)
class _Draft:
    """One sample's group while it is being put together."""

    group: Group
    views: dict[str, Sample] = field(default_factory=dict[str, Sample])
    units: dict[str, Unit] = field(default_factory=dict[str, Unit])


class _Book:
    """What a store holds of one encoder, as groups to score; ``reasons`` says of tasks why they are left alone."""

    def __init__(
        self, writer: ScoreWriter, wanted: Wanted, encoder: str, revision: str, tallies: dict[tuple[str, str], Tally]
    ) -> None:
        self._writer, self._wanted, self._tallies = writer, wanted, tallies
        self._encoder, self._revision = encoder, revision
        self.reasons: dict[str, str] = {}
        self._limits = self._positions()
        self._units = self._by_sample(_EXPLAINED)
        self._drafts: dict[tuple[str, str, str], _Draft] = {}
        self._old: dict[str, StoredScore] = {}

    def groups(self) -> list[Group]:
        """Put together every stored unit of the tasks wanted."""
        for task in self._tasks():
            try:
                n_units = self._add(task)
            except BenchmarkError as error:
                if self._wanted.tasks is not None:
                    raise
                self.reasons[task.id] = str(error)
                continue
            if not n_units:
                self.reasons[task.id] = f"no stored explanation is of a sample of {task.id} as it is now"
            self._read_scores(task)
        drafts = (draft for draft in self._drafts.values() if draft.units)
        return [replace(draft.group, views=draft.views, units=tuple(draft.units.values())) for draft in drafts]

    def with_stored(self, group: Group) -> Group:
        """Read a group's explanations; what is compared with a probe that is not stored is left to a run."""
        group = with_stored(group, self._writer.explanation)
        return replace(group, units=tuple(self._comparable(unit, group) for unit in group.units))

    def _comparable(self, unit: Unit, group: Group) -> Unit:
        kept: list[Scoring] = []
        for scoring in unit.scorings:
            probes = probe_units(unit, group.record, scoring.protocol)
            if all(item.of_itself or item.key in unit.stored_probes for item in probes):
                kept.append(scoring)
            else:
                self._tally(scoring.task).left += len(scoring.metrics)
        return replace(unit, scorings=tuple(kept))

    def _tally(self, task: str) -> Tally:
        return self._tallies.setdefault((self._encoder, task), Tally(task=task, model=self._encoder))

    def differs(self, result: UnitResult, score: ScoreRecord) -> bool:
        """Count a new score beside the stored one; return whether it is to be written."""
        tally = self._tally(score.task)
        if result.explanation is not None and score.status != "excluded":
            tally.left += 1
            return False
        return tally.count(score.metric, self._old.get(score.score_key), score)

    def _tasks(self) -> Iterator[Task]:
        if self._wanted.tasks is not None:
            yield from self._wanted.tasks
            return
        query = "SELECT DISTINCT task FROM scores WHERE encoder = ? AND revision = ? ORDER BY task"
        for row in self._writer.rows(query, [self._encoder, self._revision]):
            if row["task"] in TASKS:
                yield TASKS[row["task"]]
            else:
                self.reasons[row["task"]] = "this version of the benchmark has no such task"

    def _positions(self) -> dict[tuple[str, str], int]:
        """Return how many samples of each view were ever scored."""
        query = "SELECT task, max(position) + 1 AS n FROM scores WHERE encoder = ? AND revision = ? GROUP BY task"
        found: dict[tuple[str, str], int] = {}
        for row in self._writer.rows(query, [self._encoder, self._revision]):
            if row["task"] in TASKS:
                task = TASKS[row["task"]]
                found[task.data, task.view] = max(found.get((task.data, task.view), 0), row["n"])
        return found

    def _by_sample(self, query: str, *parameters: str) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for row in self._writer.rows(query, [self._encoder, self._revision, *parameters]):
            if self._wanted.methods is None or row["label"] in self._wanted.methods:
                found[row["data"], row["sample_id"]].append(row)
        return found

    def _add(self, task: Task) -> int:
        """Add a task to the units of its samples; return how many units there are."""
        metrics = [name for name in task.protocol.metrics if self._wanted.metrics is None or name in self._wanted.metrics]
        if not metrics:
            raise InvalidInput(f"{task.id} has none of these metrics; it has: {', '.join(task.protocol.metrics)}")
        data = DATASETS[task.data](self._wanted.data_dir)
        whole = Scoring(
            task=task.id,
            task_version=task.version,
            task_hash=content_key(task.definition),
            protocol=task.protocol,
            view=task.view,
            position=0,
            metrics=tuple(metrics),
        )
        unexplained = self._by_sample(_UNEXPLAINED, task.id)
        n_units = 0
        for position, sample in enumerate(data.samples(task.view, self._limits.get((task.data, task.view)))):
            known = [*self._units.get((task.data, sample.id), ()), *unexplained.get((task.data, sample.id), ())]
            if not known:
                continue
            record = record_of(task.data, str(data.revision), sample)
            key = (record.data, record.sample_id, record.text_hash)
            draft = self._drafts.setdefault(key, _Draft(Group(record=record, views={}, units=())))
            draft.views.setdefault(task.view, sample)
            for row in known:
                if self._is_of(row, draft.group, sample, task):
                    unit = draft.units.setdefault(row["unit_key"], self._unit(row))
                    scorings = (*unit.scorings, replace(whole, position=position))
                    draft.units[row["unit_key"]] = replace(unit, scorings=scorings)
                    n_units += 1
        return n_units

    def _is_of(self, row: dict[str, Any], group: Group, sample: Sample, task: Task) -> bool:
        """Whether a stored unit explains this very sample, and the task may score it."""
        record = group.record
        if "text_hash" not in row:  # a sample that was excluded, never explained
            return True
        if (row["data_version"], row["text_hash"]) != (record.data_version, record.text_hash):
            return False
        if row["method"] not in EXPLAINERS or not EXPLAINERS[row["method"]].reads_truth:
            return True
        identity = identity_of(record, sample, cast(Explainer, EXPLAINERS[row["method"]]))
        return task.protocol.uses_truth and self._origin(row).unit_key(identity) == row["unit_key"]

    def _origin(self, row: dict[str, Any]) -> Origin:
        return Origin(
            encoder=self._encoder,
            revision=self._revision,
            method=row["method"],
            method_version=row["method_version"],
            parameters=json.loads(row.get("parameters") or "{}"),
            label=row["label"],
            seed=row["seed"],
        )

    def _unit(self, row: dict[str, Any]) -> Unit:
        settled = row["method"] in EXPLAINERS and EXPLAINERS[row["method"]].deterministic
        return Unit(
            key=row["unit_key"],
            origin=self._origin(row),
            explainer=SettledExplainer() if settled else StoredExplainer(),
            scorings=(),
            is_stored="text_hash" in row,
        )

    def _read_scores(self, task: Task) -> None:
        parameters = [self._encoder, self._revision, task.id]
        for row in self._writer.rows(_SCORES, parameters):
            key = row.pop("score_key")
            self._old[key] = StoredScore(**row | {"flags": json.loads(row["flags"])})


# Probes are stored beside what they are compared with, and have no scores of their own.
_EXPLAINED = """
SELECT unit_key, method, label, method_version, parameters, data, data_version, sample_id, text_hash, seed
FROM explanations WHERE encoder = ? AND revision = ? AND unit_key IN (SELECT unit_key FROM scores) ORDER BY label, seed
"""
_UNEXPLAINED = """
SELECT DISTINCT unit_key, method, label, method_version, data, sample_id, seed FROM scores
WHERE encoder = ? AND revision = ? AND task = ? AND unit_key NOT IN (SELECT unit_key FROM explanations)
"""
_SCORES = """
SELECT score_key, status, value, chance, reason, position, flags FROM scores
WHERE encoder = ? AND revision = ? AND task = ?
"""
