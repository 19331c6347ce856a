"""The ladder of trust: results that others hand in, as they say, scored again here, and partly explained again here.

What is handed in is a stranger's: files are bounded, payloads are read without unpickling, and every row has to fit the
task that it names. A rung holds for a whole task: one score that disagrees refuses the folder.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb
import numpy as np

from benchmark.errors import BenchmarkError, InvalidExplanation, InvalidInput
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.metrics import METRICS
from benchmark.records import KEY_LENGTH, Cost, ExplanationRecord, ScoreRecord, UnitResult, content_key, score_key
from benchmark.runner.catalogue import label
from benchmark.runner.encoders import use_one_thread
from benchmark.runner.environment import describe_run
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Group, ProbeUnit, probe_units
from benchmark.runner.rescore import SettledExplainer, StoredExplainer
from benchmark.sandbox.watch import harmless
from benchmark.snapshots.rerun import Comparison, rerun
from benchmark.snapshots.tolerance import tolerance
from benchmark.snapshots.units import CannotRebuild, Rebuilder
from benchmark.store import Rung, StoredExplanation, StoreWriter, Verification, rows
from benchmark.submissions.pack import Results, open_results
from benchmark.submissions.payloads import read_payload
from benchmark.tasks import TASKS
from benchmark.tasks.base import Evaluation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

STATUSES = ("ok", "degenerate", "unsupported", "failed", "excluded")
MOST_PROBLEMS = 20
COSTS = ("image_forwards", "text_forwards", "backwards", "seconds", "peak_mb")
SLACK = 1e-6
"""By how much a score may leave its metric's range, as round-off does."""


@dataclass(slots=True, kw_only=True)
class Step:
    """Where the results of one task on one encoder stand: ``n_units`` explanations of ``n_samples`` were handed in.

    ``n_recomputed`` units were scored here, ``n_agreeing`` of the ``n_rerun`` that were explained here agree; ``largest`` is
    the largest difference of a score, as a share of its tolerance. ``reason`` says what kept it from the next rung.
    """

    task: str
    encoder: str
    revision: str
    method_version: int
    rung: Rung = "self-reported"
    n_samples: int = 0
    n_units: int = 0
    n_recomputed: int = 0
    n_rerun: int = 0
    n_agreeing: int = 0
    largest: float | None = None
    reason: str | None = None

    def differ(self, share: float | None) -> None:
        """Take note of a difference."""
        if share is not None:
            self.largest = max(self.largest or 0.0, share)


@dataclass(slots=True, kw_only=True)
class Climb:
    """What was found of a folder. ``problems`` refuse it, ``remarks`` say what could not be checked.

    ``results`` is what may be stored: units scored here, and scores as they were handed in.
    """

    label: str
    steps: list[Step] = field(default_factory=list[Step])
    problems: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])
    results: list[UnitResult] = field(default_factory=list[UnitResult])

    def refuse(self, problem: str) -> None:
        """Add a problem; of very many the first are enough. What strangers wrote is made harmless for a terminal."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(harmless(problem)[:500])

    def remark(self, remark: str) -> None:
        """Add a remark, once."""
        if (said := harmless(remark)[:500]) not in self.remarks:
            self.remarks.append(said)


def climb(
    folder: Path,
    *,
    tasks: Sequence[str] | None = None,
    n_reruns: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
    explainer_of: Callable[[str, str, str], Explainer] | None = None,
    models: Sequence[str] = ("embedded",),
) -> Climb:
    """Take a folder of results as far up as it goes; nothing is stored.

    ``tasks`` are patterns. ``n_reruns`` units of each task, drawn with ``seed``, are explained here; ``explainer_of`` gives
    the method where it is none of the suite. Of the encoders that a stranger names only ``models`` are loaded. A folder that
    cannot be read raises ``InvalidInput``.
    """
    with duckdb.connect() as connection:
        results = open_results(folder, connection)
        if tasks is not None:
            keep = [name for (name,) in connection.execute("SELECT DISTINCT task FROM scores").fetchall()]
            keep = [name for name in keep if any(fnmatchcase(name, pattern) for pattern in tasks)]
            connection.execute("DELETE FROM scores WHERE NOT list_contains(?, task)", [keep])
        found = _Ladder(folder, connection, results, Rebuilder(connection, data_dir, explainer_of, models))
        found.read()
        if not found.climb.problems:
            found.recompute()
        if not found.climb.problems and n_reruns:
            found.run_again(n_reruns, seed)
        return found.climb


class _Ladder:
    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection, about: Results, rebuilder: Rebuilder) -> None:
        self.folder, self.connection, self.rebuilder = folder, connection, rebuilder
        self.climb = Climb(label=about.label)
        self.steps: dict[tuple[str, str, str], Step] = {}
        self.units: dict[str, dict[str, Any]] = {}
        self.scores: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.tolerances = {name: tolerance(metric) for name, metric in METRICS.items()}

    def read(self) -> None:
        """The first rung: every row is of a known task and sample, and says what can be."""
        self.units = {row["unit_key"]: row for row in rows(self.connection, "SELECT * FROM explanations")}
        if len(self.units) < self._count("explanations"):
            self.climb.refuse("explanations.parquet has two rows of one unit")
        for unit in self.units.values():
            try:
                problem = _impossible_unit(unit)
            except BenchmarkError as error:  # parameters that the method does not have
                problem = str(error)
            if problem:
                self.climb.refuse(f"explanations.parquet, {unit['unit_key']}: {problem}")
        seen: set[tuple[str, str, str]] = set()
        for score in rows(self.connection, "SELECT * FROM scores ORDER BY task, unit_key, metric"):
            key = score["unit_key"], score["task"], score["metric"]
            problem = "it is there twice" if key in seen else self._impossible(score)
            seen.add(key)
            if problem:
                self.climb.refuse(f"{score['task']}, {score['metric']}, sample {score['sample_id']}: {problem}")
            else:
                self.scores[score["unit_key"]].append(score)
        if not seen:
            raise InvalidInput(f"{self.folder} has no score of these tasks")
        if not self.climb.problems:
            self._check_whole()
            self._count_steps()

    def _check_whole(self) -> None:
        """Refuse units that lack a metric of a task: what is left out may be what went badly."""
        for scores in self.scores.values():
            for name in dict.fromkeys(score["task"] for score in scores):
                there = {score["metric"] for score in scores if score["task"] == name}
                if missing := [metric for metric in TASKS[name].protocol.metrics if metric not in there]:
                    self.climb.refuse(f"{name}, sample {scores[0]['sample_id']}: {missing[0]} is missing")

    def _count(self, table: str) -> int:
        (count,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        return int(count)

    def _impossible(self, score: Mapping[str, Any]) -> str | None:
        """Return why a row cannot be a score of its task, or ``None``."""
        if any(score[name] is None for name in ("unit_key", "label", "sample_id", "position", "seed", "encoder", "cluster")):
            return "a column that has to be filled is empty"
        if score["label"] != self.climb.label:
            return f"it is of {score['label']!r}, and the folder of {self.climb.label!r}"
        if score["task"] not in TASKS:
            return "there is no such task"
        task = TASKS[score["task"]]
        if score["task_hash"] != content_key(task.definition) or score["task_version"] != task.version:
            return f"it is of another definition of the task than today's version {task.version}"
        if score["metric"] not in task.protocol.metrics:
            return f"the task has no such metric; it has: {', '.join(task.protocol.metrics)}"
        if score["status"] not in STATUSES:
            return f"there is no status {score['status']!r}"
        unit = self.units.get(score["unit_key"])
        if unit is None and score["status"] != "excluded":
            return "explanations.parquet has no row of its unit"
        same = ("label", "method", "method_version", "encoder", "revision", "data", "data_version", "sample_id", "seed")
        if unit is not None and any(unit[name] != score[name] for name in same):
            return "it contradicts the row of its unit in explanations.parquet"
        return _impossible_value(score)

    def _count_steps(self) -> None:
        """Make a step for each task and encoder; places that are missing leave a method without a rank."""
        places: dict[tuple[str, str, str], set[int]] = defaultdict(set)
        for key, scores in self.scores.items():
            for score in scores:
                at = score["task"], score["encoder"], score["revision"]
                self.steps.setdefault(
                    at, Step(task=at[0], encoder=at[1], revision=at[2], method_version=score["method_version"])
                )
                places[at].add(score["position"])
            if key in self.units:
                for at in dict.fromkeys((score["task"], score["encoder"], score["revision"]) for score in scores):
                    self.steps[at].n_units += 1
        for at, step in self.steps.items():
            step.n_samples = len(places[at])
            if step.n_samples <= max(places[at]):
                self.climb.remark(
                    f"{step.task}: {step.n_samples} of the first {max(places[at]) + 1} samples, so it has no rank"
                )
        self.climb.steps = list(self.steps.values())

    def recompute(self) -> None:
        """The second rung: the explanations that were handed in are scored here, and give these scores."""
        for key, scores in self.scores.items():
            unit = self.units.get(key)
            if unit is None:
                continue
            try:
                group = self.rebuilder.group(unit, _stand_in(unit))
                encoder = self.rebuilder.encoder(unit["encoder"], unit["revision"])
                prepared = self._with_payloads(unit, group, encoder)
            except CannotRebuild as error:
                self._stop(scores, str(error))
                continue
            except BenchmarkError as error:
                self.climb.refuse(f"sample {unit['sample_id']}: {error}")
                continue
            self._keep_as_said(group, [score for score in scores if not _is_in(score, prepared)])
            if prepared is None:
                continue
            use_one_thread()
            (result,) = run_group(encoder, prepared)
            wanted = [score for score in scores if _is_in(score, prepared)]
            compared = Comparison.of(wanted, result.scores, self.tolerances)
            if compared.reason:
                self.climb.refuse(f"sample {unit['sample_id']}, scored here: {compared.reason}")
                continue
            for name in dict.fromkeys(score["task"] for score in wanted):
                step = self.steps[name, unit["encoder"], unit["revision"]]
                step.n_recomputed += 1
                step.differ(compared.share)
            self.climb.results.append(self._storable(unit, prepared, result))
        for step in self.steps.values():
            if step.n_units and step.n_recomputed == step.n_units:
                step.rung, step.reason = "recomputed", None
            elif step.reason is None:
                step.reason = "not every unit has an explanation that can be scored here"

    def _stop(self, scores: Sequence[Mapping[str, Any]], reason: str) -> None:
        for score in scores:
            self.steps[score["task"], score["encoder"], score["revision"]].reason = harmless(reason)[:300]
        self.climb.remark(f"not scored here: {reason}")

    def _with_payloads(self, unit: Mapping[str, Any], group: Group, encoder: "DualEncoder") -> Group | None:
        """Return a unit with its explanation and those of its probes; tasks that lack one, or read costs, are left out."""
        (whole,) = group.units
        sample = next(iter(group.views.values()))
        if self._lacks(unit["unit_key"]):
            self._stop(self.scores[unit["unit_key"]], "its explanation was not handed in")
            return None
        own = self._stored(unit, lambda: float(encoder.similarity(encoder.pair(sample.load_image(), sample.text))))
        probes: dict[str, StoredExplanation] = {}
        kept = []
        for scoring in whole.scorings:
            items = [item for item in probe_units(whole, group.record, scoring.protocol) if not item.of_itself]
            if any(METRICS[name].track == "cost" for name in scoring.metrics):
                self._leave(scoring.task, unit, "costs are counted while a method runs; only a re-run can tell")
            elif unit["status"] == "ok" and any(self._lacks(item.key) for item in items):
                self._leave(scoring.task, unit, "the explanations of its probes were not handed in")
            else:
                for item in items if unit["status"] == "ok" else ():
                    probes[item.key] = self._stored(self.units[item.key], lambda item=item: _similarity(item, encoder, group))
                kept.append(scoring)
        made = replace(whole, scorings=tuple(kept), is_stored=True, stored=own, stored_probes=probes)
        return replace(group, units=(made,)) if kept else None

    def _leave(self, task: str, unit: Mapping[str, Any], reason: str) -> None:
        self.steps[task, unit["encoder"], unit["revision"]].reason = reason

    def _lacks(self, key: str) -> bool:
        """Whether an explanation was not handed in; a failed one has nothing to hand in."""
        return key not in self.units or (self.units[key]["status"] == "ok" and not self._path(key).is_file())

    def _path(self, key: str) -> Path:
        return self.folder / "explanations" / f"{key}.npz"

    def _stored(self, unit: Mapping[str, Any], similarity: Callable[[], float]) -> StoredExplanation:
        """Return what a store would hold of a unit that was handed in; the encoder's similarity is our own."""
        cost = Cost(**{name: unit[name] for name in COSTS})
        if unit["status"] != "ok":
            status = "unsupported" if unit["status"] == "unsupported" else "failed"
            return StoredExplanation(status, unit["error_class"], harmless(unit["reason"] or ""), None, None, cost)
        payload = self._path(unit["unit_key"]).read_bytes()
        if hashlib.sha256(payload).hexdigest()[:KEY_LENGTH] != unit["payload_hash"]:
            raise InvalidExplanation(f"explanations/{unit['unit_key']}.npz is not the one that explanations.parquet names")
        try:
            read_payload(payload)
        except InvalidExplanation as error:
            raise InvalidExplanation(f"explanations/{unit['unit_key']}.npz: {error}") from error
        return StoredExplanation("ok", None, None, payload, similarity(), cost)

    def _storable(self, unit: Mapping[str, Any], group: Group, result: UnitResult) -> UnitResult:
        """Return a result with the explanations that were handed in, as the store keeps them."""
        (whole,) = group.units
        assert whole.stored is not None  # it was prepared with it
        items = {item.key: item for scoring in whole.scorings for item in probe_units(whole, group.record, scoring.protocol)}
        probes = tuple(_record(items[key], stored) for key, stored in whole.stored_probes.items())
        own = ProbeUnit(key=whole.key, probe=cast(Any, None), origin=whole.origin, record=group.record, of_itself=True)
        return replace(result, explanation=_record(own, whole.stored), probes=probes)

    def _keep_as_said(self, group: Group, scores: Sequence[Mapping[str, Any]]) -> None:
        """Let scores that cannot be worked out here stand as they were handed in, without an explanation beside them."""
        (unit,) = group.units
        said = tuple(_said(score) for score in scores)
        if said:
            self.climb.results.append(
                UnitResult(unit_key=unit.key, origin=unit.origin, sample=group.record, explanation=None, scores=said)
            )

    def run_again(self, count: int, seed: int) -> None:
        """The third rung: some units of every task are explained and scored here, and give these scores."""
        rng = np.random.default_rng(seed)
        drawn: dict[str, None] = {}
        for step in self.steps.values():
            keys = sorted({key for key, scores in self.scores.items() if key in self.units and _has(scores, step)})
            drawn |= dict.fromkeys(keys[int(i)] for i in rng.permutation(len(keys))[:count])
        for found in rerun([self.units[key] for key in drawn], self.rebuilder, self.tolerances):
            steps = [step for step in self.steps.values() if _has(self.scores[found.unit_key], step)]
            if found.verdict == "not re-run":
                self.climb.remark(f"not re-run: {found.reason}")
                continue
            for step in steps:
                step.n_rerun += 1
                step.n_agreeing += found.verdict != "differs"
                step.differ(found.share)
            if found.verdict == "differs":
                self.climb.refuse(f"sample {found.sample}, explained here: {found.reason}")
        for step in self.steps.values():
            can_be = step.rung == "recomputed" or all(
                METRICS[name].track == "cost" for name in TASKS[step.task].protocol.metrics
            )
            if can_be and step.n_rerun and step.n_agreeing == step.n_rerun:
                step.rung, step.reason = "re-run", None


def _has(scores: Sequence[Mapping[str, Any]], step: Step) -> bool:
    at = step.task, step.encoder, step.revision
    return any((score["task"], score["encoder"], score["revision"]) == at for score in scores)


def _is_in(score: Mapping[str, Any], group: Group | None) -> bool:
    return group is not None and any(scoring.task == score["task"] for unit in group.units for scoring in unit.scorings)


def _impossible_unit(unit: Mapping[str, Any]) -> str | None:
    """Return why a row cannot be an explanation, or ``None``."""
    may_be_empty = ("error_class", "reason", "payload_hash", "similarity", "explained_similarity", "peak_mb")
    if empty := [name for name, value in unit.items() if value is None and name not in may_be_empty]:
        return f"{empty[0]} is empty"
    if not re.fullmatch(r"[0-9a-f]{32}", unit["unit_key"]):
        return "that is no key of a unit"
    if unit["status"] not in ("ok", "unsupported", "failed"):
        return f"there is no status {unit['status']!r}"
    if wrong := [name for name in COSTS if unit[name] is not None and not 0 <= unit[name] < math.inf]:
        return f"{wrong[0]} is {unit[wrong[0]]}; a cost is a number, 0 or above"
    try:
        parameters = json.loads(unit["parameters"])
    except (ValueError, RecursionError):
        return "its parameters are no JSON"
    if not isinstance(parameters, dict):
        return "its parameters are no JSON object"
    method = unit["method"]
    known = label(EXPLAINERS[method].configure(parameters)) if method in EXPLAINERS else method
    if unit["label"] != known or (method not in EXPLAINERS and unit["label"].partition("[")[0] in EXPLAINERS):
        return f"with these parameters {method!r} is called {known!r} in tables, not {unit['label']!r}"
    return None


def _impossible_value(score: Mapping[str, Any]) -> str | None:
    metric, value = METRICS[score["metric"]], score["value"]
    if score["status"] in ("excluded", "unsupported"):
        return None if value is None else f"it is {score['status']} and has the value {value}"
    if value is None:
        return None if score["status"] == "failed" else f"it is {score['status']} and has no value"
    for name in ("value", "chance"):
        number = score[name]
        if number is not None and not math.isfinite(number):
            return f"its {name} is {number}"
        if number is not None and not metric.low - SLACK <= number <= metric.high + SLACK:
            return f"its {name} is {number}; the metric lies between {metric.low} and {metric.high}"
    return None


def _stand_in(unit: Mapping[str, Any]) -> Explainer:
    """Return what stands for a method whose explanations are there; only one of the suite's is believed to be settled."""
    method = unit["method"]
    if method in EXPLAINERS and EXPLAINERS[method].reads_truth:
        raise InvalidInput(f"{method} is a control that reads the truth; results of it are not taken")
    settled = method in EXPLAINERS and EXPLAINERS[method].deterministic
    return SettledExplainer() if settled else StoredExplainer()


def _similarity(item: ProbeUnit, encoder: "DualEncoder", group: Group) -> float:
    """Return the encoder's own similarity of a probe's pair."""
    changed = item.probe.encoder(encoder)
    sample = replace(next(iter(group.views.values())), text=item.record.text)
    return float(changed.similarity(item.probe.pair(Evaluation(changed, sample))))


def _record(item: ProbeUnit, stored: StoredExplanation) -> ExplanationRecord:
    explained = None if stored.payload is None else read_payload(stored.payload).similarity
    return ExplanationRecord(
        unit_key=item.key,
        origin=item.origin,
        sample=item.record,
        status=cast(Any, stored.status),
        error_class=stored.error_class,
        reason=stored.reason,
        payload=stored.payload,
        similarity=stored.similarity,
        explained_similarity=explained,
        cost=stored.cost,
    )


def _said(score: Mapping[str, Any]) -> ScoreRecord:
    """Return a score as it was handed in; side facts of strangers are not kept."""
    names = ("unit_key", "task", "task_version", "task_hash", "metric", "position", "status", "value", "chance")
    reason = None if score["reason"] is None else harmless(score["reason"])[:500]
    key = score_key(score["unit_key"], score["task_hash"], score["metric"])
    return ScoreRecord(score_key=key, reason=reason, **{name: score[name] for name in names})


def keep(found: Climb, store: Path, command: str, seed: int) -> int:
    """Add what was found, with a verification for every task, to a store; return how many units were new.

    What the store explained or was given before stays; another explanation of the same unit raises ``InvalidInput``.
    """
    if found.problems:
        raise InvalidInput(f"{found.label} was refused: {found.problems[0]}")
    with StoreWriter(store) as writer:
        new = list(_new(found, writer))
        writer.begin(describe_run(command, "cpu", (0,)))
        for result in new:
            writer.add(result)
        for step in found.steps:
            n_units = step.n_rerun if step.rung == "re-run" else step.n_recomputed if step.rung == "recomputed" else 0
            evidence = {
                "largest_share_of_tolerance": step.largest,
                "n_handed_in": step.n_units,
                "n_recomputed": step.n_recomputed,
                "n_rerun": step.n_rerun,
                "seed": seed,
                "reason": step.reason,
            }
            tolerances = [tolerance(metric) for metric in TASKS[step.task].metrics]
            stated = [value for value in tolerances if value is not None]
            writer.verify(
                Verification(
                    label=found.label,
                    method_version=step.method_version,
                    task=step.task,
                    encoder=step.encoder,
                    revision=step.revision,
                    rung=step.rung,
                    n_units=n_units,
                    n_agreeing=n_units,
                    tolerance=max(stated) if n_units and stated else None,
                    evidence=evidence,
                )
            )
        writer.end("done")
    return len({result.unit_key for result in new})


def _new(found: Climb, writer: StoreWriter) -> Iterator[UnitResult]:
    known: dict[tuple[str, str], tuple[dict[str, str], dict[str, str]]] = {}
    for result in found.results:
        origin, explanation = result.origin, result.explanation
        at = origin.encoder, origin.revision
        units, scores = known.get(at) or known.setdefault(at, writer.known_status(*at))
        if result.unit_key not in units:
            yield result
            continue
        stored = writer.explanation(result.unit_key)
        if explanation is not None and stored is not None and stored.payload != explanation.payload:
            raise InvalidInput(
                f"the store holds another explanation of {result.sample.sample_id} by {origin.label}; verify into a store of "
                "its own with --store, and compare"
            )
        missing = tuple(score for score in result.scores if score.score_key not in scores)
        if missing:
            yield replace(result, explanation=None, probes=(), scores=missing)
