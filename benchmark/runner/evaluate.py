"""Scoring methods on samples in hand, without a task and without a store."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.data.base import Sample
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.records import SampleRecord, UnitResult, text_hash
from benchmark.runner.catalogue import methods as read_methods
from benchmark.runner.catalogue import register
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Group, Scoring, Unit, origins_of
from benchmark.tasks.base import Protocol

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.encoders.base import DualEncoder

VIEW = "given"
COLUMNS = (
    "sample",
    "method",
    "metric",
    "status",
    "value",
    "chance",
    "reason",
    "image_forwards",
    "text_forwards",
    "backwards",
    "seconds",
)


def evaluate(
    encoder: "DualEncoder",
    samples: Sequence[Sample],
    methods: Sequence[str | Explainer],
    metrics: Sequence[str],
    seed: int = 0,
) -> "pd.DataFrame":
    """Explain every sample with every method and score it; one row per sample, method and metric.

    ``methods`` are names, with parameters in brackets if need be (``"rise[n_masks=500]"``), or explainers. A metric is
    measured by the standard protocol that provides it. Columns: sample, method, metric, status, value, chance, reason,
    image_forwards, text_forwards, backwards, seconds. A failed explanation has status ``failed`` and the chance value.
    """
    import pandas as pd

    register()
    from benchmark.tasks.protocols import protocols_for

    protocols = protocols_for(metrics)
    named = [item for item in methods if isinstance(item, str)]
    explainers = [*(read_methods(",".join(named)) if named else []), *(item for item in methods if not isinstance(item, str))]
    rows: list[dict[str, Any]] = []
    for sample in samples:
        group = _group(encoder, sample, explainers, protocols, set(metrics), seed)
        for result in run_group(encoder, group):
            rows += _rows(result)
    return pd.DataFrame(rows, columns=COLUMNS)


def _group(
    encoder: "DualEncoder",
    sample: Sample,
    explainers: Sequence[Explainer],
    protocols: Sequence[Protocol],
    metrics: set[str],
    seed: int,
) -> Group:
    record = SampleRecord(
        data=VIEW,
        data_version="",
        sample_id=sample.id,
        text_hash=text_hash(sample.text),
        text=sample.text,
        cluster=sample.cluster,
        strata=dict(sample.strata),
    )
    units: list[Unit] = []
    for explainer in explainers:
        scorings = tuple(_scorings(explainer, protocols, metrics))
        if not scorings:
            raise InvalidInput(
                f"{explainer.name} reads the truth; no protocol of these metrics allows it: {', '.join(metrics)}"
            )
        for origin in origins_of(explainer, encoder, (seed,)):
            key = origin.unit_key({"sample": record.sample_id, "text": record.text_hash})
            units.append(Unit(key=key, origin=origin, explainer=explainer, scorings=scorings))
    return Group(record=record, views={VIEW: sample}, units=tuple(units))


def _scorings(explainer: Explainer, protocols: Sequence[Protocol], metrics: set[str]) -> Iterator[Scoring]:
    for protocol in protocols:
        if protocol.uses_truth or not explainer.reads_truth:
            wanted = tuple(name for name in protocol.metrics if name in metrics)
            name = type(protocol).__name__
            yield Scoring(task=name, task_version=0, task_hash=name, protocol=protocol, view=VIEW, position=0, metrics=wanted)


def _rows(result: UnitResult) -> Iterator[dict[str, Any]]:
    record = result.explanation
    for score in result.scores:
        yield {
            "sample": result.sample.sample_id,
            "method": result.origin.label,
            "metric": score.metric,
            "status": score.status,
            "value": score.value,
            "chance": score.chance,
            "reason": score.reason,
            "image_forwards": record.cost.image_forwards if record else 0,
            "text_forwards": record.cost.text_forwards if record else 0,
            "backwards": record.cost.backwards if record else 0,
            "seconds": record.cost.seconds if record else 0.0,
        }
