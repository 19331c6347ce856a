"""What a command has to do: units of work, grouped by sample, less what is stored already."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.base import DATASETS, Phrase, Sample
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.records import Origin, SampleRecord, content_key, score_key, text_hash
from benchmark.runner.catalogue import label
from benchmark.runner.shards import Shard
from benchmark.store import StoredExplanation
from benchmark.tasks.base import Probe, Protocol, Task

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What one task still wants of one unit. ``position`` is the sample's place in the task's view."""

    task: str
    task_version: int
    task_hash: str
    protocol: Protocol
    view: str
    position: int
    metrics: tuple[str, ...]

    def key(self, unit: str, metric: str) -> str:
        """Return the key of one of the scores."""
        return score_key(unit, self.task_hash, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One explanation to be made, or (``stored``) one to be scored again; ``stored_probes`` are by their own keys."""

    key: str
    origin: Origin
    explainer: Explainer
    scorings: tuple[Scoring, ...]
    is_stored: bool = False
    stored: StoredExplanation | None = None
    stored_probes: Mapping[str, StoredExplanation] = field(default_factory=dict[str, StoredExplanation])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeUnit:
    """One more explanation that a scoring of a unit is compared with. ``of_itself``: only a seed that plays no part differs."""

    key: str
    probe: Probe
    origin: Origin
    record: SampleRecord
    of_itself: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All units of one sample: they share its preprocessed pair and its scoring games.

    ``views`` holds the sample as each view of the data set tells it; pair and text are the same in all, phrases may differ.
    """

    record: SampleRecord
    views: Mapping[str, Sample]
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked of one encoder; ``groups`` hold only what is still missing.

    ``n_failed_before`` counts the units among the rest that are stored as failures.
    """

    encoder: str
    revision: str
    groups: tuple[Group, ...]
    n_units: int
    n_failed_before: int
    per_method: Mapping[str, "Tally"]

    @property
    def n_missing(self) -> int:
        return sum(len(group.units) for group in self.groups)


@dataclass(slots=True)
class Tally:
    """How many units of one method there are, are stored, and are left to explain or only to score."""

    units: int = 0
    to_explain: int = 0
    to_score: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for, whatever the encoder. ``limit`` samples of every task, or else as many as its ``tier`` says.

    Of these a ``shard`` takes its part.
    """

    methods: Sequence[Explainer]
    tasks: Sequence[Task]
    limit: int | None = None
    tier: str | None = None
    seeds: tuple[int, ...] = (0,)
    data_dir: Path | None = None
    shard: Shard | None = None

    def n_samples(self, task: Task) -> int | None:
        """Return how many samples of a task are wanted; ``None`` is all of them."""
        if self.limit is not None or self.tier is None:
            return self.limit
        if self.tier not in task.tiers:
            raise InvalidInput(f"{task.id} has no tier {self.tier!r}; it has: {', '.join(task.tiers)}")
        return task.tiers[self.tier]


@dataclass(slots=True)
class Known:
    """Status by key of what a store holds of one encoder."""

    units: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_failed: bool = False

    def has_unit(self, unit: str) -> bool:
        """Whether the explanation is there, or its failure is and stands."""
        return unit in self.units and not (self.retry_failed and self.units[unit] == "failed")

    def has_score(self, key: str) -> bool:
        return key in self.scores and not (self.retry_failed and self.scores[key] == "failed")

    def missing(self, unit: str, scorings: Iterable[Scoring]) -> Iterator[Scoring]:
        """Yield what is left of the scorings of a unit; all of them when its failed explanation is to be tried again."""
        again = unit in self.units and not self.has_unit(unit)
        for scoring in scorings:
            metrics = (name for name in scoring.metrics if again or not self.has_score(scoring.key(unit, name)))
            left = replace(scoring, metrics=tuple(metrics))
            if left.metrics:
                yield left

    def has_failed(self, unit: str, scorings: Iterable[Scoring]) -> bool:
        """Whether the explanation or one of these scores is stored as a failure."""
        keys = (scoring.key(unit, name) for scoring in scorings for name in scoring.metrics)
        return self.units.get(unit) == "failed" or any(self.scores.get(key) == "failed" for key in keys)


@dataclass(slots=True)
class _Draft:
    """A group while it is being put together."""

    record: SampleRecord
    views: dict[str, Sample]
    scorings: dict[str, list[Scoring]]
    units: dict[str, tuple[Origin, Explainer]]


class Samples:
    """The samples of every view that the tasks of a request use, read once."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._data = {name: DATASETS[name](request.data_dir) for name in dict.fromkeys(task.data for task in request.tasks)}
        self._views: dict[tuple[str, str], Sequence[Sample]] = {}
        for data, view in dict.fromkeys((task.data, task.view) for task in request.tasks):
            wanted = [request.n_samples(task) for task in request.tasks if (task.data, task.view) == (data, view)]
            most = None if None in wanted else max(n for n in wanted if n is not None)
            self._views[data, view] = self._data[data].samples(view, most)

    def of(self, task: Task) -> Iterator[tuple[int, Sample]]:
        """Yield a task's samples with their positions."""
        limit = self._request.n_samples(task)
        yield from enumerate(self._views[task.data, task.view][:limit])

    @property
    def problems(self) -> dict[str, tuple[str, ...]]:
        """Return what was left out of each data set or mended in it, one sentence an entry."""
        return {name: tuple(data.problems) for name, data in self._data.items() if data.problems}

    def version(self, task: Task) -> str:
        return str(self._data[task.data].revision)


def make_plan(request: Request, encoder: "DualEncoder", known: Known, samples: Samples | None = None) -> Plan:
    """Plan one encoder's part of a request; units that several tasks share are made once."""
    samples = samples or Samples(request)
    drafts: dict[str, _Draft] = {}
    for task in request.tasks:
        explainers = [item for item in request.methods if not item.reads_truth or task.protocol.uses_truth]
        origins = [(item, origin) for item in explainers for origin in origins_of(item, encoder, request.seeds)]
        whole = _scoring(task)
        for position, sample in samples.of(task):
            record = record_of(task.data, samples.version(task), sample)
            identity = _identity_key(record)
            if request.shard is not None and not request.shard.holds(identity):
                continue
            draft = drafts.setdefault(identity, _Draft(record, {}, {}, {}))
            draft.views.setdefault(task.view, sample)
            for explainer, origin in origins:
                key = origin.unit_key(identity_of(record, sample, explainer))
                draft.units.setdefault(key, (origin, explainer))
                draft.scorings.setdefault(key, []).append(replace(whole, position=position))
    return _reduce(drafts.values(), encoder.name, encoder.revision or "", known)


def _reduce(drafts: Iterable[_Draft], encoder: str, revision: str, known: Known) -> Plan:
    """Leave out what is stored; a stored explanation without some of its scores is only scored."""
    groups: list[Group] = []
    tallies: dict[str, Tally] = {}
    n_units = n_failed_before = 0
    for draft in drafts:
        units: list[Unit] = []
        for key, (origin, explainer) in draft.units.items():
            n_units += 1
            tally = tallies.setdefault(origin.label, Tally())
            tally.units += 1
            is_stored = known.has_unit(key)
            scorings = tuple(known.missing(key, draft.scorings[key]))
            if scorings:
                tally.to_score += is_stored
                tally.to_explain += not is_stored
                units.append(Unit(key=key, origin=origin, explainer=explainer, scorings=scorings, is_stored=is_stored))
            else:
                n_failed_before += known.has_failed(key, draft.scorings[key])
        if units:
            groups.append(Group(record=draft.record, views=draft.views, units=tuple(units)))
    return Plan(
        encoder=encoder,
        revision=revision,
        groups=tuple(groups),
        n_units=n_units,
        n_failed_before=n_failed_before,
        per_method=tallies,
    )


SEED_STEP = 1
"""How far the seed of another draw lies from that of a unit: one that is run anyway where several are."""


def probe_units(unit: Unit, record: SampleRecord, protocol: Protocol) -> Iterator[ProbeUnit]:
    """Yield what a protocol compares a unit with, each under the key it is stored by."""
    for probe in protocol.probes:
        origin, text = unit.origin, probe.text(record.text)
        if probe.changes == "encoder":
            origin = replace(origin, revision=f"{origin.revision}+{probe.name}")
        elif probe.changes == "seed":
            origin = replace(origin, seed=origin.seed + SEED_STEP)
        shown = f"{record.sample_id}~{probe.name}" if probe.changes == "image" else record.sample_id
        changed = replace(record, sample_id=shown, text=text, text_hash=text_hash(text))
        of_itself = probe.changes == "seed" and unit.explainer.deterministic
        yield ProbeUnit(
            key=origin.unit_key(_identity(changed)), probe=probe, origin=origin, record=changed, of_itself=of_itself
        )


def with_stored(group: Group, find: Callable[[str], StoredExplanation | None]) -> Group:
    """Read what is stored of units that are only to be scored, and of the probes of all; a failed probe is tried again."""
    units: list[Unit] = []
    for unit in group.units:
        keys = dict.fromkeys(
            item.key for scoring in unit.scorings for item in probe_units(unit, group.record, scoring.protocol)
        )
        found = {key: probe for key in keys if (probe := find(key)) is not None and probe.status != "failed"}
        units.append(replace(unit, stored=find(unit.key) if unit.is_stored else None, stored_probes=found))
    return replace(group, units=tuple(units))


def _scoring(task: Task) -> Scoring:
    return Scoring(
        task=task.id,
        task_version=task.version,
        task_hash=content_key(task.definition),
        protocol=task.protocol,
        view=task.view,
        position=0,
        metrics=task.protocol.metrics,
    )


def origins_of(explainer: Explainer, encoder: "DualEncoder", seeds: tuple[int, ...]) -> Iterator[Origin]:
    """Yield one origin per seed. A deterministic method has one result whatever the seed, kept under seed 0.

    A method with several replicates has that many seeds for each one asked for.
    """
    drawn = [seed * explainer.replicates + i for seed in seeds for i in range(explainer.replicates)]
    for seed in (0,) if explainer.deterministic else drawn:
        yield Origin(
            encoder=encoder.name,
            revision=encoder.revision or "",
            method=explainer.name,
            method_version=explainer.version,
            parameters=explainer.parameters,
            label=label(explainer),
            seed=seed,
        )


def record_of(data: str, version: str, sample: Sample) -> SampleRecord:
    return SampleRecord(
        data=data,
        data_version=version,
        sample_id=sample.id,
        text_hash=text_hash(sample.text),
        text=sample.text,
        cluster=sample.cluster,
        strata=dict(sample.strata),
    )


def _identity_key(record: SampleRecord) -> str:
    return content_key([record.data, record.data_version, record.sample_id, record.text_hash])


def identity_of(record: SampleRecord, sample: Sample, explainer: Explainer) -> dict[str, str]:
    """Return what of a sample can change its explanation: for a control that reads the truth, the truth too."""
    identity = _identity(record)
    return identity | {"truth": truth_hash(sample.phrases)} if explainer.reads_truth else identity


def _identity(record: SampleRecord) -> dict[str, str]:
    return {"data": f"{record.data}@{record.data_version}", "sample": record.sample_id, "text": record.text_hash}


def truth_hash(phrases: Sequence[Phrase]) -> str:
    """Return the key of a sample's phrases and regions."""
    return content_key([_phrase(phrase) for phrase in phrases])


def _phrase(phrase: Phrase) -> dict[str, Any]:
    mask = phrase.region.mask
    return {
        "span": phrase.span,
        "label": phrase.label,
        "boxes": [[float(value) for value in box] for box in phrase.region.boxes],
        "mask": None if mask is None else [mask.shape, hashlib.sha256(mask.tobytes()).hexdigest()],
    }
