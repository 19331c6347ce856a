"""Two methods on the samples they share: is one better, by how much, and where."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from duckdb import DuckDBPyConnection
from jaxtyping import Float

from benchmark.errors import UnknownName
from benchmark.metrics.base import METRICS
from benchmark.ranking.boards import Selection, selected_scores
from benchmark.ranking.bootstrap import RESAMPLES, Bootstrap, interval
from benchmark.ranking.wins import win_rate
from benchmark.store import rows
from benchmark.types import Better

PERMUTATIONS = 10_000
EXACT_CLUSTERS = 13  # 2**13 sign patterns are fewer than the permutations drawn beyond
LEVEL = 0.05
SMALLEST_SLICE = 5
EXTREMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The samples of one stratum; ``difference`` is first less second, ``wins`` the share of samples the first wins."""

    stratum: str
    n: int
    difference: float
    wins: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One sample on which the two differ much; ``difference`` is first less second, in the metric's unit."""

    sample: str
    text: str
    difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods on one board, over the ``n`` samples that both have, failures at chance.

    ``difference`` is first less second in the metric's unit with its 95 % interval; ``p`` is that of a two-sided sign-flip
    permutation test over images, ``p_holm`` the same corrected for all comparisons made together (Holm 1979).
    ``effect_size`` is the mean difference over its standard deviation between images, ``wins`` the probability that the
    first is better on a sample, ties half. ``winner`` is the method that is better at 5 % after correction, if one is.
    """

    task: str
    model: str
    metric: str
    better: Better
    unit: str
    first: str
    second: str
    n: int
    n_clusters: int
    mean_first: float
    mean_second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    effect_size: float | None
    wins: float
    winner: str | None
    slices: tuple[Slice, ...] = ()
    contrasts: tuple[Contrast, ...] = ()


def compare(
    connection: DuckDBPyConnection, first: str, second: str, selection: Selection | None = None, n_resamples: int = RESAMPLES
) -> list[Comparison]:
    """Compare two methods, named by their labels, on every board where both have scores; Holm over all of them.

    Metrics without a direction are left out. A label without scores raises ``UnknownName``.
    """
    known = [label for (label,) in connection.execute("SELECT DISTINCT label FROM scores").fetchall()]
    for label in (first, second):
        if label not in known:
            raise UnknownName("method with scores", label, known)
    chosen = replace(selection or Selection(), methods=(first, second))
    facts = _facts(connection, first)
    found: list[Comparison] = []
    for (task, _, model, metric), scores in selected_scores(connection, chosen).items():
        if metric in METRICS and METRICS[metric].better == "neither":
            continue
        values, clusters = _values(scores, (first, second))
        shared = sorted(set(values[first]) & set(values[second]))
        if shared:
            columns = [np.array([float(np.mean(values[label][sample])) for sample in shared]) for label in (first, second)]
            board = _Board(task, model, metric, shared, [clusters[sample] for sample in shared])
            found.append(_compare(board, (first, second), columns[0], columns[1], facts.get(task, {}), n_resamples))
    return _corrected(found)


def sign_flip_p(differences: Float[np.ndarray, " cluster"], seed: int = 0) -> float:
    """Return the two-sided p value of a mean difference of 0 under random signs: exact for few clusters, else sampled.

    Source: protocols.md 1.16; the observed pattern counts among the others, so p is never 0.

    >>> sign_flip_p(np.array([1.0, 1.0, 1.0]))
    0.25
    """
    n = len(differences)
    observed = abs(differences.sum())
    if n <= EXACT_CLUSTERS:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return float((np.abs(signs @ differences) >= observed * (1 - 1e-12)).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(PERMUTATIONS, n))
    return float((1 + (np.abs(signs @ differences) >= observed * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down corrected p values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = running
    return corrected


@dataclass(frozen=True, slots=True)
class _Board:
    task: str
    model: str
    metric: str
    samples: list[str]
    clusters: list[str]


def _values(
    scores: Sequence[dict[str, Any]], labels: Sequence[str]
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    values: dict[str, dict[str, list[float]]] = {label: defaultdict(list) for label in labels}
    clusters: dict[str, str] = {}
    for score in scores:
        if score["value"] is not None:
            values[score["label"]][score["sample_id"]].append(score["value"])
            clusters[score["sample_id"]] = score["cluster"]
    return values, clusters


def _facts(connection: DuckDBPyConnection, label: str) -> dict[str, dict[str, tuple[str, Mapping[str, str]]]]:
    """Return text and strata of the samples of one method, by task and sample; all that is compared are among them."""
    query = "SELECT DISTINCT task, sample_id, text, strata FROM results WHERE label = ? AND text IS NOT NULL"
    found: dict[str, dict[str, tuple[str, Mapping[str, str]]]] = defaultdict(dict)
    for row in rows(connection, query, [label]):
        found[row["task"]][row["sample_id"]] = (row["text"], json.loads(row["strata"]))
    return found


def _compare(
    board: _Board,
    labels: tuple[str, str],
    first: Float[np.ndarray, " sample"],
    second: Float[np.ndarray, " sample"],
    facts: Mapping[str, tuple[str, Mapping[str, str]]],
    n_resamples: int,
) -> Comparison:
    better: Better = METRICS[board.metric].better if board.metric in METRICS else "higher"
    sign = -1.0 if better == "lower" else 1.0
    gaps = first - second
    resampled = Bootstrap(board.samples, board.clusters, n_resamples).resample({"first": first, "second": second})
    low, high = interval(resampled["first"].means - resampled["second"].means, resampled["first"].tail)
    names, place = np.unique(board.clusters, return_inverse=True)
    sums = np.bincount(place, weights=gaps)
    means = sums / np.bincount(place)
    spread = float(means.std(ddof=1)) if len(names) > 1 else 0.0
    seed = int.from_bytes(hashlib.sha256("\n".join(board.samples).encode()).digest()[:8], "little")
    return Comparison(
        task=board.task,
        model=board.model,
        metric=board.metric,
        better=better,
        unit=METRICS[board.metric].unit if board.metric in METRICS else "",
        first=labels[0],
        second=labels[1],
        n=len(gaps),
        n_clusters=len(names),
        mean_first=float(first.mean()),
        mean_second=float(second.mean()),
        difference=float(gaps.mean()),
        low=low,
        high=high,
        p=sign_flip_p(sums, seed),
        p_holm=1.0,
        effect_size=float(means.mean() / spread) if spread > 0 else None,
        wins=win_rate(sign * gaps),
        winner=None,
        slices=tuple(_slices(board.samples, gaps, sign, facts)),
        contrasts=tuple(_contrasts(board.samples, gaps, facts)),
    )


def _slices(
    samples: Sequence[str], gaps: Float[np.ndarray, " sample"], sign: float, facts: Mapping[str, tuple[str, Mapping[str, str]]]
) -> list[Slice]:
    """Return every stratum with enough samples, but for those that all samples share; the first's best come first."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        for name, value in facts[sample][1].items() if sample in facts else ():
            members[f"{name}={value}"].append(i)
    slices = [
        Slice(stratum=name, n=len(chosen), difference=float(gaps[chosen].mean()), wins=win_rate(sign * gaps[chosen]))
        for name, chosen in members.items()
        if SMALLEST_SLICE <= len(chosen) < len(samples)
    ]
    return sorted(slices, key=lambda item: (-sign * item.difference, item.stratum))


def _contrasts(
    samples: Sequence[str], gaps: Float[np.ndarray, " sample"], facts: Mapping[str, tuple[str, Mapping[str, str]]]
) -> list[Contrast]:
    """Return the samples of largest difference either way, each once, the largest first."""
    order: list[int] = np.argsort(-np.abs(gaps), kind="stable").tolist()
    chosen = [i for i in order if gaps[i] > 0][:EXTREMES] + [i for i in order if gaps[i] < 0][:EXTREMES]
    return [
        Contrast(sample=samples[i], text=facts[samples[i]][0] if samples[i] in facts else "", difference=float(gaps[i]))
        for i in chosen
    ]


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p values for all comparisons and name the winners."""
    done: list[Comparison] = []
    for item, p in zip(found, holm([item.p for item in found]), strict=True):
        ahead = (item.difference > 0) == (item.better == "higher")
        winner = (item.first if ahead else item.second) if p <= LEVEL else None
        done.append(replace(item, p_holm=p, winner=winner))
    return done
