"""Cards of methods, metrics, tasks and data sets, read from ``catalogue.json``.

What an explainer or a task says of itself stands in classes whose import loads torch. ``python -m benchmark.site.freeze``
writes it down; a test keeps it current. A method that is not in it (a submission, a plug-in) has an empty card.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """What a method says of itself. ``families`` is its verdict on every family of encoders, ``why`` the sentence behind it."""

    name: str
    version: int | None = None
    summary: str = ""
    yields: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    deterministic: bool | None = None
    baseline: bool = False
    reads_truth: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    published: Mapping[str, str] = field(default_factory=dict[str, str])
    paper: str = ""
    bibtex: str = ""
    differs: str = ""
    families: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard:
    """What a metric says of itself."""

    name: str
    unit: str = ""
    better: str = "neither"
    low: float = 0.0
    high: float = 0.0
    track: str = "other"
    summary: str = ""
    source: str = ""
    chance: str = ""
    known_failures: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCard:
    """What a task says of itself; the first of its metrics is its headline."""

    name: str
    version: int | None = None
    summary: str = ""
    data: str = ""
    view: str = ""
    protocol: str = ""
    metrics: tuple[str, ...] = ()
    tiers: Mapping[str, int] = field(default_factory=dict[str, int])
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCard:
    """What a data set says of itself; where ``shows_images`` is false neither images nor texts may be shown."""

    name: str
    version: str = ""
    summary: str = ""
    licence: str = ""
    synthetic: bool = False
    shows_images: bool = False
    views: tuple[str, ...] = ()
    card: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All cards, by name."""

    methods: Mapping[str, MethodCard]
    metrics: Mapping[str, MetricCard]
    tasks: Mapping[str, TaskCard]
    data: Mapping[str, DataCard]

    def method(self, name: str) -> MethodCard:
        """Return a method's card; a label's parameters in brackets do not count."""
        plain = name.partition("[")[0]
        return self.methods.get(plain) or MethodCard(name=plain, known=False)

    def metric(self, name: str) -> MetricCard:
        """Return a metric's card, an empty one for a metric that is not known."""
        return self.metrics.get(name) or MetricCard(name=name)

    def task(self, name: str) -> TaskCard:
        """Return a task's card, an empty one for a task that is not known."""
        return self.tasks.get(name) or TaskCard(name=name)

    def data_set(self, name: str) -> DataCard:
        """Return a data set's card; of one that is not known nothing may be shown."""
        return self.data.get(name) or DataCard(name=name)

    def headline(self, task: str) -> str | None:
        """Return the metric that a task is ranked by among tracks."""
        card = self.tasks.get(task)
        return card.metrics[0] if card and card.metrics else None


@cache
def load(path: Path = FILE) -> Catalogue:
    """Read the frozen cards."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Catalogue(
        methods={name: _method(name, item) for name, item in found["methods"].items()},
        metrics={name: MetricCard(name=name, **item) for name, item in found["metrics"].items()},
        tasks={
            name: TaskCard(name=name, **item | {"metrics": tuple(item["metrics"])}) for name, item in found["tasks"].items()
        },
        data={name: DataCard(name=name, **item | {"views": tuple(item["views"])}) for name, item in found["data"].items()},
    )


def _method(name: str, item: dict[str, Any]) -> MethodCard:
    fields: dict[str, Any] = item | {key: tuple(item[key]) for key in ("yields", "needs")}
    fields["families"] = {family: (verdict, why) for family, (verdict, why) in item["families"].items()}
    return MethodCard(name=name, **fields)
