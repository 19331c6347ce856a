"""What the samples page asks of a store: which samples there are and in which order, and everything about one of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.metrics.base import METRICS
from benchmark.ranking.pareto import CONTROLS, TRUTH_READERS
from benchmark.site.access import Store
from benchmark.store import rows

Query = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]
Means = dict[tuple[str, str, str, str], tuple[float, int]]
"""A method's mean over a data set and how many samples it is of, by encoder, task, metric and label."""

Order = Literal["position", "disagreement", "difficulty", "failure"]
ORDERS: Mapping[Order, str] = {
    "position": "as in the tasks",
    "disagreement": "methods disagree most first",
    "difficulty": "hardest first",
    "failure": "most failures first",
}
UNSCORED = ("cost", "complexity")  # tracks that say nothing of whether a sample is hard

# Scores are compared across metrics in units of the metric's own standard deviation over all methods and samples.
_SAMPLES = """
WITH usable AS (
    SELECT data, data_version, sample_id, cluster, task, metric, encoder, label, position, status, value
    FROM scores WHERE status <> 'excluded' AND data_version IS NOT NULL),
counted AS (
    SELECT data, data_version, sample_id, any_value(cluster) AS cluster, min(position) AS position,
        count(DISTINCT CASE WHEN status IN ('failed', 'degenerate') THEN encoder || ' ' || label END) AS failures
    FROM usable GROUP BY ALL),
compared AS (
    SELECT *, list_contains($higher, metric) AS up FROM usable
    WHERE value IS NOT NULL AND list_contains($compared, metric) AND NOT list_contains($controls, label)),
spread AS (
    SELECT encoder, task, metric, avg(value) AS middle, stddev_pop(value) AS size FROM compared GROUP BY ALL),
cells AS (
    SELECT data, data_version, sample_id, encoder, task, metric, any_value(up) AS up, avg(value) AS mean,
        stddev_pop(value) AS apart
    FROM compared GROUP BY ALL),
told AS (
    SELECT data, data_version, sample_id, avg(apart / size) AS disagreement,
        avg(CASE WHEN up THEN middle - mean ELSE mean - middle END / size) AS difficulty
    FROM cells JOIN spread USING (encoder, task, metric) WHERE size > 0 GROUP BY ALL)
SELECT data, data_version, sample_id, cluster, position, failures, disagreement, difficulty
FROM counted LEFT JOIN told USING (data, data_version, sample_id)
ORDER BY data, data_version, position, sample_id
"""

_SAMPLE = """
SELECT text, cluster, strata FROM samples WHERE data = $data AND data_version = $version AND sample_id = $sample
ORDER BY text_hash LIMIT 1
"""

# Of several versions or revisions of one method or model the one explained last is shown, of several seeds the lowest.
_EXPLAINED = """
SELECT unit_key, encoder, revision, method, label, method_version, parameters::VARCHAR AS parameters, seed, status, reason,
    similarity, explained_similarity, image_forwards, text_forwards, backwards, seconds, peak_mb
FROM explanations WHERE data = $data AND data_version = $version AND sample_id = $sample
    AND NOT contains(coalesce(revision, ''), '+')
QUALIFY row_number() OVER (PARTITION BY encoder, label ORDER BY method_version DESC, created DESC, seed) = 1
ORDER BY encoder, label
"""

_SCORES = """
SELECT unit_key, task, metric, encoder, label, status, value, chance, reason, flags::VARCHAR AS flags
FROM scores WHERE data = $data AND data_version = $version AND sample_id = $sample AND list_contains($keys, unit_key)
QUALIFY row_number() OVER (PARTITION BY unit_key, task, metric ORDER BY created DESC) = 1
ORDER BY task, metric, encoder, label
"""

_MEANS = """
SELECT encoder, task, metric, label, avg(value) AS mean, count(value) AS n
FROM scores WHERE data = $data AND data_version = $version AND value IS NOT NULL GROUP BY ALL
"""


def query_of(store: Store) -> Query:
    """Return what puts the questions of this module to a store."""

    def ask(query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with store.reading() as connection:
            return rows(connection, query, parameters)

    return ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A sample in the list. ``disagreement`` and ``difficulty`` are in standard deviations of the metrics, averaged over them.

    ``disagreement``: how far the methods' scores of this sample lie apart. ``difficulty``: how far the methods' mean lies on
    the worse side of their mean over all samples. ``failures`` counts methods that failed or were degenerate somewhere.
    """

    data: str
    version: str
    id: str
    cluster: str
    position: int
    failures: int
    disagreement: float | None
    difficulty: float | None


def list_samples(query: Query) -> list[Listed]:
    """Return every sample that some task scored, of all data sets, in the order of the tasks."""
    compared = {name: metric for name, metric in METRICS.items() if metric.better != "neither" and metric.track not in UNSCORED}
    higher = [name for name, metric in compared.items() if metric.better == "higher"]
    found = query(_SAMPLES, {"higher": higher, "compared": list(compared), "controls": [*CONTROLS, *TRUTH_READERS]})
    return [Listed(version=row.pop("data_version"), id=row.pop("sample_id"), **row) for row in found]


def ordered(samples: Sequence[Listed], order: Order) -> list[Listed]:
    """Return samples in an order; what has no number for it comes last, ties stay as in the tasks."""
    if order == "position":
        return list(samples)
    keys: dict[Order, Callable[[Listed], float | None]] = {
        "disagreement": lambda sample: sample.disagreement,
        "difficulty": lambda sample: sample.difficulty,
        "failure": lambda sample: float(sample.failures),
    }

    def key(sample: Listed) -> float:
        value = keys[order](sample)
        return float("inf") if value is None else -value

    return sorted(samples, key=key)


def sample_row(query: Query, sample: Listed) -> tuple[str, Mapping[str, str]]:
    """Return the caption and the strata of a sample."""
    found = query(_SAMPLE, _named(sample))
    if not found:
        return "", {}
    return found[0]["text"], json.loads(found[0]["strata"])


def explained(query: Query, sample: Listed) -> list[dict[str, Any]]:
    """Return what every method and encoder made of a sample, without the arrays."""
    return query(_EXPLAINED, _named(sample))


def payloads(query: Query, unit_keys: Sequence[str]) -> dict[str, bytes]:
    """Return stored explanations by unit key."""
    rows = query(
        "SELECT unit_key, payload FROM explanations WHERE list_contains($keys, unit_key) AND payload IS NOT NULL",
        {"keys": list(unit_keys)},
    )
    return {row["unit_key"]: bytes(row["payload"]) for row in rows}


def scores_of(query: Query, sample: Listed, unit_keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the scores of some explanations of a sample; ``flags`` are read."""
    rows = query(_SCORES, _named(sample) | {"keys": list(unit_keys)})
    return [row | {"flags": json.loads(row["flags"])} for row in rows]


def method_means(query: Query, data: str, version: str) -> Means:
    """Return the mean of every method on a data set."""
    rows = query(_MEANS, {"data": data, "version": version})
    return {(row["encoder"], row["task"], row["metric"], row["label"]): (row["mean"], row["n"]) for row in rows}


def _named(sample: Listed) -> dict[str, Any]:
    return {"data": sample.data, "version": sample.version, "sample": sample.id}
