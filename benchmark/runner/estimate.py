"""What a run would cost, before it is started."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.explainers.base import Explainer
from benchmark.runner.catalogue import label
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Known, Plan, Request, Samples, Tally, make_plan, probe_units
from benchmark.store import known_status, open_store, rows

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One method's part of a run; ``forwards`` and ``seconds`` are ``None`` when nothing is known of them.

    ``probes`` are explanations of changed encoders and samples that some tasks compare with; they are in both prices. Seconds
    are of explaining alone, on one process; scoring comes on top.
    """

    model: str
    method: str
    units: int
    stored: int
    to_explain: int
    to_score: int
    probes: int
    forwards: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Price:
    forwards: float | None = None
    seconds: float | None = None


def estimate(request: Request, sources: Sequence[EncoderSource], store: Path, retry_failed: bool = False) -> list[Estimate]:
    """Plan a request against a store without touching it, and price what is missing.

    A price is what the method took before on this encoder, else what it says it will take (``estimate_forwards``) at the
    speed of a single forward pass measured now.
    """
    samples = Samples(request)
    found: list[Estimate] = []
    for source in sources:
        encoder = source.load()
        known, past, stored = Known(retry_failed=retry_failed), dict[str, _Price](), set[str]()
        if store.exists():
            with open_store(store) as connection:
                known.units, known.scores = known_status(connection, encoder.name, encoder.revision or "")
                took = rows(connection, _PAST, [encoder.name])
                past = {row["label"]: _Price(row["forwards"], row["seconds"]) for row in took}
                stored = {row["unit_key"] for row in rows(connection, _STORED, [encoder.name])}
        plan = make_plan(request, encoder, known, samples)
        guesses = _guesses(request, encoder, plan, past)
        probes = _missing_probes(plan, stored)
        for name, tally in plan.per_method.items():
            found.append(_estimate(plan.encoder, name, tally, probes[name], guesses.get(name, _Price())))
    return found


_PAST = """
SELECT label, avg(image_forwards + text_forwards) AS forwards, median(seconds) AS seconds
FROM explanations WHERE encoder = ? AND status = 'ok' GROUP BY label
"""
_STORED = "SELECT unit_key FROM explanations WHERE encoder = ? AND status != 'failed'"


def _missing_probes(plan: Plan, stored: Collection[str]) -> Counter[str]:
    """Count the probes that the missing units of each method want and no store holds."""
    wanted = {
        probe.key: unit.origin.label
        for group in plan.groups
        for unit in group.units
        for scoring in unit.scorings
        for probe in probe_units(unit, group.record, scoring.protocol)
        if not probe.of_itself and probe.key not in stored
    }
    return Counter(wanted.values())


def _estimate(model: str, method: str, tally: Tally, probes: int, price: _Price) -> Estimate:
    n = tally.to_explain + probes
    return Estimate(
        model=model,
        method=method,
        units=tally.units,
        stored=tally.units - tally.to_explain - tally.to_score,
        to_explain=tally.to_explain,
        to_score=tally.to_score,
        probes=probes,
        forwards=None if price.forwards is None else price.forwards * n,
        seconds=None if price.seconds is None else price.seconds * n,
    )


def _guesses(request: Request, encoder: "DualEncoder", plan: Plan, past: Mapping[str, _Price]) -> dict[str, _Price]:
    guesses = dict(past)
    new = [item for item in request.methods if label(item) not in past and hasattr(item, "estimate_forwards")]
    if new and plan.groups:
        sample = next(iter(plan.groups[0].views.values()))
        pair = encoder.pair(sample.load_image(), sample.text)
        per_forward = _seconds_per_forward(encoder, pair)
        for explainer in new:
            forwards = _declared(explainer, encoder.n_patches, pair.n_tokens)
            guesses[label(explainer)] = _Price(forwards, forwards * per_forward)
    return guesses


def _declared(explainer: Explainer, n_patches: int, n_tokens: int) -> float:
    return float(explainer.estimate_forwards(n_patches, n_tokens))  # pyright: ignore[reportAttributeAccessIssue]  # optional


def _seconds_per_forward(encoder: "DualEncoder", pair: "Pair") -> float:
    """Time one image and one text together, the second time they run; a batch is faster than this."""
    encoder.similarity(pair)
    began = time.perf_counter()
    encoder.similarity(pair)
    return (time.perf_counter() - began) / 2
