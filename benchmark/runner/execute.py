"""Explaining and scoring the units of one sample. Whatever goes wrong becomes rows, and the rest goes on."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import batched
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import BenchmarkError, InvalidExplanation, UnsupportedEncoder
from benchmark.explainers.base import Explainer, TruthReader
from benchmark.explanations import Explanation
from benchmark.metrics.base import Score
from benchmark.records import Cost, ExplanationRecord, ExplanationStatus, Origin, SampleRecord, ScoreRecord, UnitResult
from benchmark.runner.measure import metered
from benchmark.runner.plan import Group, ProbeUnit, Scoring, Unit, probe_units, truth_hash
from benchmark.store import StoredExplanation
from benchmark.tasks.base import Evaluation, Explained, Probe

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

READERS = 4
"""Threads that read the images of what comes next."""

LOST = "WorkerLost"
LOST_REASON = "the worker process died twice at this unit: killed from outside, out of memory or past --unit-timeout"


@dataclass(frozen=True, slots=True)
class Failure:
    """What a stranger's code raised: the class of the exception and one sentence."""

    error_class: str
    reason: str
    unsupported: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What explaining came to: an explanation, or why there is none. ``similarity`` is the encoder's own, of the same pair."""

    status: ExplanationStatus
    explanation: Explanation | None = None
    payload: bytes | None = None
    error_class: str | None = None
    reason: str | None = None
    similarity: float | None = None
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a probe makes of one sample, for all methods."""

    encoder: "DualEncoder"
    pair: "Pair"
    similarity: float | None


type Probed = dict[str, tuple[ProbeUnit, Outcome]]
"""What the probes of one unit came to, by key."""


def attempt[T](work: Callable[[], T]) -> T | Failure:
    """Run code that may raise anything; the one place where an unforeseen exception becomes a result."""
    try:
        return work()
    except Exception as error:
        return Failure(type(error).__name__, _sentence(error), isinstance(error, UnsupportedEncoder))


def run_group(encoder: "DualEncoder", group: Group, lost: frozenset[str] = frozenset()) -> Iterator[UnitResult]:
    """Yield the result of every unit in order, each as soon as it is there.

    Units in ``lost`` killed their process before: they are written down as failed without being tried again.
    """
    yield from _Bench(encoder, group).results(lost)


def run_groups(
    encoder: "DualEncoder", groups: Iterable[Group], at_once: int = 1, lost: frozenset[str] = frozenset()
) -> Iterator[UnitResult]:
    """Yield the results of groups in order, ``at_once`` side by side.

    In what is side by side, methods of one pass for each pair share passes, which changes their scores by rounding alone;
    meanwhile threads read the images of what comes next. One at a time, nothing differs from ``run_group``.
    """
    if at_once == 1:
        for group in groups:
            yield from run_group(encoder, group, lost)
        return
    with ThreadPoolExecutor(READERS) as readers:
        ahead: list[_Bench] = []
        for part in batched(groups, at_once):
            benches, ahead = ahead, [_Bench(encoder, group) for group in part]
            for bench in ahead:
                readers.submit(bench.read)
            yield from _side_by_side(encoder, benches, lost)
        yield from _side_by_side(encoder, ahead, lost)


def _side_by_side(encoder: "DualEncoder", benches: "list[_Bench]", lost: frozenset[str]) -> Iterator[UnitResult]:
    shared: dict[tuple[str, int], list[tuple[_Bench, Unit]]] = {}
    for bench in benches:
        for unit in bench.group.units:
            if unit.explainer.shares_passes and unit.key not in lost and bench.has_to_explain(unit):
                shared.setdefault((unit.origin.label, unit.origin.seed), []).append((bench, unit))
    for members in shared.values():
        if len(members) > 1:
            _explain_together(encoder, members)
    benches.reverse()
    while benches:  # each is let go of when it is done, and its games with it
        yield from benches.pop().results(lost)


def _explain_together(encoder: "DualEncoder", members: "Sequence[tuple[_Bench, Unit]]") -> None:
    """Hand each bench its unit's outcome, with an equal share of the cost; after a failure each unit is explained alone."""
    explainer, pairs = members[0][1].explainer, [bench.evaluation.pair for bench, _ in members]
    rngs = [np.random.default_rng(int(unit.key, 16)) for _, unit in members]
    with metered(encoder) as meter:
        answer = attempt(lambda: explainer.explain_pairs(encoder, pairs, rngs))
    if isinstance(answer, Failure) or len(answer) != len(members):
        return
    shares = {name: whole / len(members) for name, whole in asdict(meter.cost).items() if name != "peak_mb"}
    cost = replace(meter.cost, **shares)  # what was held was held for all
    for (bench, unit), pair, explanation in zip(members, pairs, answer, strict=True):
        kept = attempt(lambda pair=pair, explanation=explanation: _keep(_checked(explainer, encoder, pair, explanation)))
        if not isinstance(kept, Failure):
            bench.made[unit.key] = Outcome(status="ok", payload=kept[0], explanation=kept[1], cost=cost)


class _Bench:
    """One sample before one encoder, with all that its units share."""

    def __init__(self, encoder: "DualEncoder", group: Group) -> None:
        self.encoder = encoder
        self.group = group
        self._evaluations: dict[str, Evaluation] = {}
        self._of_view: dict[str, Evaluation] = {}
        for view, sample in group.views.items():
            self._of_view[view] = self._evaluations.setdefault(truth_hash(sample.phrases), Evaluation(encoder, sample))
        self._exclusions: dict[str, str | Failure | None] = {}
        self._chances: dict[str, Mapping[str, float]] = {}
        self._changes: dict[Probe, Changed | Failure] = {}
        self._reading = Lock()
        self.made: dict[str, Outcome] = {}  # by unit, what was explained beside other samples

    def results(self, lost: frozenset[str]) -> Iterator[UnitResult]:
        """Yield the result of every unit in order."""
        for unit in self.group.units:
            yield self.result(unit, unit.key in lost)

    def read(self) -> None:
        """Read and preprocess the image, in whatever thread; who needs it meanwhile waits."""
        with self._reading:
            _ = self.unusable

    @property
    def evaluation(self) -> Evaluation:
        """One of the views; image and text are the same in all."""
        return next(iter(self._evaluations.values()))

    @cached_property
    def unusable(self) -> Failure | None:
        """Why the encoder cannot take this image and text (an unreadable file, an empty caption), or ``None``."""
        pair = attempt(lambda: self.evaluation.pair)
        return pair if isinstance(pair, Failure) else None

    @cached_property
    def similarity(self) -> float | None:
        """The encoder's own cosine of the pair, to be stored beside the one that a method says it explained."""
        value = attempt(lambda: float(self.encoder.similarity(self.evaluation.pair)))
        return None if isinstance(value, Failure) else _finite(value)

    def result(self, unit: Unit, lost: bool) -> UnitResult:
        """Explain a unit (unless it is stored, or no task can use it) and score it."""
        self.read()
        if self.unusable is not None:
            outcome = Outcome(status="failed", error_class=self.unusable.error_class, reason=self.unusable.reason)
            scores = [record for scoring in unit.scorings for record in self._excluded(unit, scoring, self.unusable.reason)]
            return self._package(unit, outcome, scores, {})
        outcome = self._outcome(unit, lost) if self._is_wanted(unit) else None
        scores: list[ScoreRecord] = []
        probed: Probed = {}
        for scoring in unit.scorings:
            exclusion = self._exclusion(scoring)
            if isinstance(exclusion, str):
                scores += self._excluded(unit, scoring, exclusion)
            elif outcome is not None:
                scores += self._scores(unit, scoring, outcome, lost, probed)
        return self._package(unit, outcome, scores, probed)

    def has_to_explain(self, unit: Unit) -> bool:
        """Whether a unit needs an explanation that can be made: not stored, of some use, of an encoder that can be served."""
        self.read()
        if self.unusable is not None or unit.stored is not None or not self._is_wanted(unit):
            return False
        return attempt(lambda: unit.explainer.unsupported(self.encoder)) is None

    def _is_wanted(self, unit: Unit) -> bool:
        return not unit.scorings or any(not isinstance(self._exclusion(scoring), str) for scoring in unit.scorings)

    def _outcome(self, unit: Unit, lost: bool) -> Outcome:
        if unit.stored is not None:
            return _restored(unit.stored)
        if lost:
            outcome = Outcome(status="failed", error_class=LOST, reason=LOST_REASON)
        elif unit.key in self.made:
            outcome = self.made[unit.key]
        else:
            evaluation = self._evaluation_of(unit)
            outcome = self._made(self.encoder, lambda: self._explain(unit, unit.key, self.encoder, evaluation.pair))
        return replace(outcome, similarity=self.similarity)

    def _probes(
        self, unit: Unit, scoring: Scoring, outcome: Outcome, lost: bool, probed: Probed
    ) -> dict[str, Explained] | Failure:
        """Return the explanations of a scoring's probes by name, or why the first that has none has none.

        What is explained is added to ``probed``, so that the unit's other tasks find it there.
        """
        found: dict[str, Explained] = {}
        for item in probe_units(unit, self.group.record, scoring.protocol):
            if item.key not in probed:
                probed[item.key] = item, self._probe(unit, item, outcome, lost)
            other = probed[item.key][1]
            if other.explanation is None:
                reason = f"the probe {item.probe.name} could not be explained: {other.reason}"
                return Failure(other.error_class or "", reason, other.status == "unsupported")
            found[item.probe.name] = _explained(other)
        return found

    def _probe(self, unit: Unit, item: ProbeUnit, outcome: Outcome, lost: bool) -> Outcome:
        if item.key in unit.stored_probes:
            return _restored(unit.stored_probes[item.key])
        if item.of_itself:
            return outcome
        if lost:
            return Outcome(status="failed", error_class=LOST, reason=LOST_REASON)
        changed = self._changed(item.probe)
        if isinstance(changed, Failure):
            return _failure(changed)
        made = self._made(changed.encoder, lambda: self._explain(unit, item.key, changed.encoder, changed.pair))
        return replace(made, similarity=changed.similarity)

    def _changed(self, probe: Probe) -> "Changed | Failure":
        if probe not in self._changes:
            self._changes[probe] = attempt(lambda: self._change(probe))
        return self._changes[probe]

    def _change(self, probe: Probe) -> Changed:
        encoder, sample = probe.encoder(self.encoder), self.evaluation.sample
        pair = probe.pair(Evaluation(encoder, replace(sample, text=probe.text(sample.text))))
        return Changed(encoder=encoder, pair=pair, similarity=_finite(float(encoder.similarity(pair))))

    def _made(self, encoder: "DualEncoder", work: Callable[[], Explanation]) -> Outcome:
        """Let work be done and measured; what it hands back is kept as it is stored."""
        with metered(encoder) as meter:
            answer = attempt(work)
        kept = answer if isinstance(answer, Failure) else attempt(lambda: _keep(answer))
        if isinstance(kept, Failure):
            return replace(_failure(kept), cost=meter.cost)
        payload, explanation = kept
        return Outcome(status="ok", explanation=explanation, payload=payload, cost=meter.cost)

    def _explain(self, unit: Unit, key: str, encoder: "DualEncoder", pair: "Pair") -> Explanation:
        """Let the method explain, and believe nothing of what it hands back."""
        explainer = unit.explainer
        reason = explainer.unsupported(encoder)
        if reason:
            raise UnsupportedEncoder(reason)
        if isinstance(explainer, TruthReader):
            explanation = explainer.explain_sample(encoder, pair, self._evaluation_of(unit).sample)
        else:
            explanation = explainer.explain(encoder, pair, np.random.default_rng(int(key, 16)))
        return _checked(explainer, encoder, pair, explanation)

    def _evaluation_of(self, unit: Unit) -> Evaluation:
        return self._of_view[unit.scorings[0].view] if unit.scorings else self.evaluation

    def _exclusion(self, scoring: Scoring) -> str | Failure | None:
        task = scoring.task_hash
        if task not in self._exclusions:
            self._exclusions[task] = attempt(lambda: scoring.protocol.excluded(self._of_view[scoring.view]))
        return self._exclusions[task]

    def _scores(self, unit: Unit, scoring: Scoring, outcome: Outcome, lost: bool, probed: Probed) -> Iterator[ScoreRecord]:
        if outcome.status == "unsupported":
            for metric in scoring.metrics:
                yield _score(unit, scoring, metric, status="unsupported", reason=outcome.reason)
            return
        evaluation = self._of_view[scoring.view]
        if outcome.explanation is None:
            answer: Mapping[str, Score | str] | Failure = Failure(outcome.error_class or "", outcome.reason or "")
        elif isinstance(probes := self._probes(unit, scoring, outcome, lost, probed), Failure):
            answer = probes
        else:
            explained = _explained(outcome)
            answer = attempt(lambda: scoring.protocol.compare(explained, probes, evaluation))
            if isinstance(answer, Failure):
                answer = replace(answer, reason=f"scoring failed: {answer.error_class}: {answer.reason}")
        for metric in scoring.metrics:
            if isinstance(answer, Failure) and answer.unsupported:
                yield _score(unit, scoring, metric, status="unsupported", reason=answer.reason)
            elif isinstance(answer, Failure):
                yield self._failed(unit, scoring, metric, answer.reason)
            elif metric not in answer:
                yield self._failed(unit, scoring, metric, f"scoring failed: the protocol gave no {metric}")
            else:
                yield self._scored(unit, scoring, metric, answer[metric])

    def _scored(self, unit: Unit, scoring: Scoring, metric: str, score: Score | str) -> ScoreRecord:
        if isinstance(score, str):
            return _score(unit, scoring, metric, status="unsupported", reason=score)
        chance = score.chance if score.chance is not None else self._chance(scoring).get(metric)
        value, reason = _finite(float(score.value)), None
        degenerate = score.degenerate or value is None
        if degenerate:
            reason = "the metric is not defined for this explanation (constant, or no positive mass); it counts as chance"
        value = chance if value is None else value
        flags = {name: float(flag) for name, flag in score.flags.items() if math.isfinite(flag)}
        status = "degenerate" if degenerate else "ok"
        return _score(unit, scoring, metric, status=status, value=value, chance=chance, reason=reason, flags=flags)

    def _failed(self, unit: Unit, scoring: Scoring, metric: str, reason: str) -> ScoreRecord:
        chance = self._chance(scoring).get(metric)
        return _score(unit, scoring, metric, status="failed", value=chance, chance=chance, reason=reason)

    def _excluded(self, unit: Unit, scoring: Scoring, reason: str) -> Iterator[ScoreRecord]:
        for metric in scoring.metrics:
            yield _score(unit, scoring, metric, status="excluded", reason=reason)

    def _chance(self, scoring: Scoring) -> Mapping[str, float]:
        """Return the chance values of a task for this sample; none where even that cannot be worked out."""
        task = scoring.task_hash
        if task not in self._chances:
            values = attempt(lambda: scoring.protocol.chance(self._of_view[scoring.view]))
            known: Mapping[str, float] = {} if isinstance(values, Failure) else values
            self._chances[task] = {name: float(value) for name, value in known.items() if math.isfinite(value)}
        return self._chances[task]

    def _package(self, unit: Unit, outcome: Outcome | None, scores: list[ScoreRecord], probed: Probed) -> UnitResult:
        sample = self.group.record
        record = None
        if outcome is not None and not unit.is_stored:
            record = self._record(unit.key, unit.origin, sample, outcome)
        made = tuple(
            self._record(item.key, item.origin, item.record, probe)
            for item, probe in probed.values()
            if item.key not in unit.stored_probes and probe is not outcome
        )
        return UnitResult(
            unit_key=unit.key, origin=unit.origin, sample=sample, explanation=record, scores=tuple(scores), probes=made
        )

    def _record(self, key: str, origin: Origin, sample: SampleRecord, outcome: Outcome) -> ExplanationRecord:
        explanation = outcome.explanation
        return ExplanationRecord(
            unit_key=key,
            origin=origin,
            sample=sample,
            status=outcome.status,
            error_class=outcome.error_class,
            reason=outcome.reason,
            payload=outcome.payload,
            similarity=outcome.similarity,
            explained_similarity=_finite(explanation.similarity) if explanation is not None else None,
            cost=outcome.cost,
            device=str(self.encoder.device),
        )


def _checked(explainer: Explainer, encoder: "DualEncoder", pair: "Pair", explanation: object) -> Explanation:
    """Return what a method handed back if it is an explanation of this pair."""
    if not isinstance(explanation, Explanation):
        raise InvalidExplanation(f"{explainer.name} returned {type(explanation).__name__}, not an Explanation")
    explanation.check(encoder.patch_grid, pair.n_tokens)
    return explanation


def _keep(explanation: Explanation) -> tuple[bytes, Explanation]:
    """Return an explanation as it is stored and as it is read back: scoring it now or later sees the same."""
    payload = explanation.to_bytes()
    return payload, Explanation.from_bytes(payload)


def _restored(stored: StoredExplanation | None) -> Outcome:
    """Return what a store holds of a unit; an explanation that cannot be read any more is a failure to be scored as one."""
    if stored is None or stored.status != "ok" or stored.payload is None:
        status: ExplanationStatus = "unsupported" if stored is not None and stored.status == "unsupported" else "failed"
        return Outcome(status=status, error_class=stored and stored.error_class, reason=stored and stored.reason)
    payload = stored.payload
    explanation = attempt(lambda: Explanation.from_bytes(payload))
    if isinstance(explanation, Failure):
        return _failure(explanation)
    return Outcome(status="ok", explanation=explanation, similarity=stored.similarity, cost=stored.cost)


def _failure(failure: Failure) -> Outcome:
    status: ExplanationStatus = "unsupported" if failure.unsupported else "failed"
    return Outcome(status=status, error_class=failure.error_class, reason=failure.reason)


def _explained(outcome: Outcome) -> Explained:
    assert outcome.explanation is not None  # whoever asks has seen it
    cost = {name: value for name, value in asdict(outcome.cost).items() if value is not None}
    return Explained(explanation=outcome.explanation, similarity=outcome.similarity, cost=cost)


def _score(unit: Unit, scoring: Scoring, metric: str, **fields: object) -> ScoreRecord:
    return ScoreRecord(
        score_key=scoring.key(unit.key, metric),
        unit_key=unit.key,
        task=scoring.task,
        task_version=scoring.task_version,
        task_hash=scoring.task_hash,
        metric=metric,
        position=scoring.position,
        **fields,  # pyright: ignore[reportArgumentType]  # status, value, chance, reason and flags, as the record names them
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _sentence(error: Exception) -> str:
    """Return the first line of an error, shortened; a deliberate error's message is kept whole."""
    text = str(error).strip() or f"{type(error).__name__} without a message"
    if isinstance(error, BenchmarkError):
        return text
    return text.splitlines()[0][:300]
