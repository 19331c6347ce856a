"""Explaining and scoring some frozen units anew, and comparing what comes out."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.records import ScoreRecord
from benchmark.runner.encoders import use_one_thread
from benchmark.runner.execute import run_group
from benchmark.snapshots.units import CannotRebuild, Rebuilder
from benchmark.store import rows

Verdict = Literal["same", "close", "differs", "not re-run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What became of one unit. ``same``: the explanation is the same to the last bit, ``close``: only its scores agree.

    ``share`` is the largest difference of a score as a share of its tolerance, ``metric`` whose; ``reason`` says what
    differs, or why the unit cannot be made here.
    """

    unit_key: str
    label: str
    sample: str
    encoder: str
    verdict: Verdict
    n_scores: int = 0
    share: float | None = None
    metric: str | None = None
    reason: str | None = None


def draw(connection: duckdb.DuckDBPyConnection, count: int, seed: int) -> list[dict[str, Any]]:
    """Return ``count`` units at random, all if there are no more; the same for the same seed and rows."""
    keys = [key for (key,) in connection.execute("SELECT unit_key FROM explanations ORDER BY unit_key").fetchall()]
    chosen = np.random.default_rng(seed).choice(len(keys), size=min(count, len(keys)), replace=False) if keys else []
    query = "SELECT * EXCLUDE (payload) FROM explanations WHERE unit_key = ?"
    return [row for place in chosen for row in rows(connection, query, [keys[int(place)]])]


def rerun(units: Iterable[Mapping[str, Any]], rebuilder: Rebuilder, tolerances: Mapping[str, float | None]) -> Iterator[Rerun]:
    """Run units with the runner's own code and compare; what cannot be run here is said to be so."""
    for unit in units:
        about = {"unit_key": unit["unit_key"], "label": unit["label"], "sample": unit["sample_id"], "encoder": unit["encoder"]}
        try:
            group = rebuilder.group(unit)
            encoder = rebuilder.encoder(unit["encoder"], unit["revision"])
        except CannotRebuild as error:
            yield Rerun(**about, verdict="not re-run", reason=str(error))
            continue
        except BenchmarkError as error:
            yield Rerun(**about, verdict="differs", reason=str(error))
            continue
        use_one_thread()
        with contextlib.redirect_stdout(sys.stderr):  # what a method prints is no result
            (result,) = run_group(encoder, group)
        made = result.explanation
        frozen = rebuilder.scores(unit["unit_key"])
        found = Comparison.of(frozen, result.scores, tolerances)
        status = "excluded" if made is None else made.status
        if status != unit["status"]:
            reason = f"it was {unit['status']} and is now {status}" + (f": {made.reason}" if made and made.reason else "")
            yield Rerun(**about, verdict="differs", reason=reason)
            continue
        is_same = made is not None and made.payload_hash == unit["payload_hash"]
        verdict: Verdict = "differs" if found.reason else "same" if is_same else "close"
        yield Rerun(
            **about, verdict=verdict, n_scores=found.n_scores, share=found.share, metric=found.metric, reason=found.reason
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Scores of one unit beside those made here. ``reason`` names the first that differs by more than its tolerance."""

    n_scores: int
    share: float | None
    metric: str | None
    largest: float
    reason: str | None

    @classmethod
    def of(
        cls, given: Sequence[Mapping[str, Any]], made: Sequence[ScoreRecord], tolerances: Mapping[str, float | None]
    ) -> "Comparison":
        """Compare every given score but those of measured metrics, which never come out the same twice."""
        here = {(score.task, score.metric): score for score in made}
        share, metric, reason, largest, n_scores = None, None, None, 0.0, 0
        for score in given:
            name = score["metric"]
            if name not in tolerances:
                reason = reason or f"{score['task']}, {name}: no tolerance is stated for it"
                continue
            tolerance = tolerances[name]
            if tolerance is None:
                continue
            n_scores += 1
            other = here.get((score["task"], name))
            if other is None or other.status != score["status"] or (other.value is None) != (score["value"] is None):
                now = "not scored" if other is None else other.status
                reason = reason or f"{score['task']}, {name}: was {score['status']}, is {now}"
            elif other.value is not None:
                difference = abs(other.value - score["value"])
                largest = max(largest, difference)
                if share is None or difference / tolerance > share:
                    share, metric = difference / tolerance, name
                if not difference <= tolerance:
                    values = f"was {score['value']:.6g}, is {other.value:.6g}"
                    reason = reason or f"{score['task']}, {name}: {values}, more than {tolerance:.2g} apart"
        return cls(n_scores=n_scores, share=share, metric=metric, largest=largest, reason=reason)
