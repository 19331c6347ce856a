"""From the scores of a store to ranked rows: one per task, model, metric and method."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from duckdb import DuckDBPyConnection
from jaxtyping import Float

from benchmark.metrics.base import METRICS
from benchmark.ranking.bootstrap import RESAMPLES, Bootstrap, Resampled, standings
from benchmark.ranking.wins import WinTable, mean_wins, win_table
from benchmark.store import RUNGS, Rung, rows
from benchmark.types import Better

FLOORS = ("random", "centre")
HANDED_IN = "external:"
"""How labels of maps begin that were made elsewhere and scored here (``benchmark score``)."""

RowState = Literal["ranked", "partial", "unsupported", "excluded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a leaderboard. ``n`` of ``n_samples`` samples count; only complete rows have a rank.

    ``n`` includes failed and degenerate samples, which count as chance. On ``n_excluded`` samples nobody can be scored.
    ``below`` names the controls (random, centre) whose mean is better than this method's.
    ``reason`` is the most frequent one of failing or not applying, ``exclusion`` that of leaving samples out.
    ``forwards`` and ``backwards`` (inputs run through a tower) and ``seconds`` are means over what was explained.
    ``wins`` is the mean share of samples on which the method beats each other ranked one, controls included, ties half.
    ``badge`` says who made and scored the explanations; ``docs/ranking.md`` has the rule.
    """

    task: str
    task_version: int
    model: str
    metric: str
    method: str
    method_version: int
    better: Better
    unit: str
    track: str
    state: RowState
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    n: int
    n_samples: int
    n_failed: int
    n_degenerate: int
    n_excluded: int
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    tie_group: int | None = None
    p_best: float | None = None
    below: tuple[str, ...] = ()
    forwards: float | None = None
    seconds: float | None = None
    reason: str | None = None
    exclusion: str | None = None
    backwards: float | None = None
    wins: float | None = None
    badge: Rung = "re-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of a store to rank; ``None`` is all of it. Tasks, models and metrics may be patterns with ``*``.

    ``limit`` keeps the first samples of every task, so that runs of different sizes can be compared.
    """

    tasks: Collection[str] | None = None
    models: Collection[str] | None = None
    metrics: Collection[str] | None = None
    methods: Collection[str] | None = None
    limit: int | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the selection as an SQL condition on scores, and its parameters."""
        parameters: list[Any] = [2**31 - 1 if self.limit is None else self.limit]
        terms = ["scores.position < ?"]
        chosen = {"task": self.tasks, "encoder": self.models, "metric": self.metrics}
        for column, patterns in chosen.items():
            if patterns is not None:
                terms.append("(" + " OR ".join([f"scores.{column} GLOB ?"] * len(patterns) or ["false"]) + ")")
                parameters += patterns
        if self.methods is not None:
            terms.append("list_contains(?, scores.label)")
            parameters.append(list(self.methods))
        return " AND ".join(terms), parameters


@dataclass(slots=True)
class _Method:
    """The scores of one method on one board, by sample; several seeds of one sample are averaged."""

    version: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    chances: list[float] = field(default_factory=list[float])
    failed: set[str] = field(default_factory=set[str])
    degenerate: set[str] = field(default_factory=set[str])
    excluded: set[str] = field(default_factory=set[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    exclusions: Counter[str] = field(default_factory=Counter[str])
    forwards: list[float] = field(default_factory=list[float])
    backwards: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])
    verified: Rung | None = None
    unexplained: bool = False

    def add(self, score: dict[str, Any]) -> None:
        sample, status = score["sample_id"], score["status"]
        self.verified = score["rung"]
        if status == "excluded":
            self.excluded.add(sample)
            self.exclusions[score["reason"]] += 1
        elif status in ("failed", "unsupported"):
            self.reasons[score["reason"]] += 1
        if score["value"] is None:
            return
        self.values[sample].append(score["value"])
        if score["chance"] is not None:
            self.chances.append(score["chance"])
        if status == "failed":
            self.failed.add(sample)
        if status == "degenerate":
            self.degenerate.add(sample)
        if score["seconds"] is not None:
            self.seconds.append(score["seconds"])
            self.forwards.append(score["image_forwards"] + score["text_forwards"])
            self.backwards.append(score["backwards"])
        else:
            self.unexplained = True


# Of several definitions of a task, versions (or folders) of its data and revisions of a model the one scored last is shown,
# of a method the newest version: the tables of a WITH, and the joins that keep only these of ``scores``.
NEWEST = """
newest_data AS (SELECT task, arg_max(coalesce(data_version, ''), created) AS data_version FROM scores GROUP BY task),
newest_task AS (SELECT task, arg_max(task_hash, created) AS task_hash FROM scores GROUP BY task),
newest_model AS (SELECT task, encoder, arg_max(revision, created) AS revision FROM scores GROUP BY task, encoder),
newest_method AS (SELECT task, encoder, label, max(method_version) AS method_version FROM scores GROUP BY task, encoder, label)
"""
SHOWN = """
JOIN newest_task USING (task, task_hash)
JOIN newest_data ON newest_data.task = scores.task AND newest_data.data_version = coalesce(scores.data_version, '')
JOIN newest_model USING (task, encoder, revision)
JOIN newest_method ON newest_method.task = scores.task AND newest_method.encoder = scores.encoder
    AND newest_method.label = scores.label AND newest_method.method_version = scores.method_version"""

# A verification in which units disagree confirms nothing that was handed in.
_SCORES = f"""
WITH {NEWEST},
newest_check AS (
    SELECT label, method_version, task, encoder, revision, if(n_agreeing = n_units, rung, 'self-reported') AS rung
    FROM verifications
    QUALIFY row_number() OVER (PARTITION BY label, method_version, task, encoder, revision
        ORDER BY created DESC, list_position({{rungs}}, verifications.rung), n_agreeing, run_id) = 1)
SELECT scores.task, scores.task_version, scores.encoder, scores.metric, scores.label, scores.method_version, scores.sample_id,
    scores.cluster, scores.status, scores.value, scores.chance, scores.reason, explanations.image_forwards,
    explanations.text_forwards, explanations.backwards, explanations.seconds, newest_check.rung
FROM scores
{SHOWN}
LEFT JOIN newest_check ON newest_check.label = scores.label AND newest_check.method_version = scores.method_version
    AND newest_check.task = scores.task AND newest_check.encoder = scores.encoder AND newest_check.revision = scores.revision
LEFT JOIN explanations USING (unit_key)
WHERE {{condition}}
ORDER BY scores.task, scores.encoder, scores.metric, scores.label, scores.position, scores.seed
"""


def leaderboard(connection: DuckDBPyConnection, selection: Selection | None = None, n_resamples: int = RESAMPLES) -> list[Row]:
    """Rank everything selected: boards in order of task, model and metric, their rows best first."""
    boards = selected_scores(connection, selection or Selection())
    return [row for key, scores in boards.items() for row in _board(*key, scores, n_resamples)]


def selected_scores(
    connection: DuckDBPyConnection, selection: Selection
) -> dict[tuple[str, int, str, str], list[dict[str, Any]]]:
    """Return the scores of every board by task, its version, model and metric; of several definitions the newest."""
    condition, parameters = selection.condition()
    boards: dict[tuple[str, int, str, str], list[dict[str, Any]]] = defaultdict(list)
    for score in rows(connection, _SCORES.format(condition=condition, rungs=list(RUNGS)), parameters):
        boards[score["task"], score["task_version"], score["encoder"], score["metric"]].append(score)
    return boards


def win_tables(connection: DuckDBPyConnection, selection: Selection | None = None) -> list[WinTable]:
    """Set all methods of every selected board against each other, partial ones too; metrics without direction are left out."""
    found: list[WinTable] = []
    for (task, _, model, metric), scores in selected_scores(connection, selection or Selection()).items():
        better: Better = METRICS[metric].better if metric in METRICS else "neither"
        methods = {label: method for label, method in _gather(scores)[0].items() if method.values}
        everywhere = sorted({sample for method in methods.values() for sample in method.values})
        if better != "neither" and methods:
            columns = {label: _values(method, everywhere) for label, method in methods.items()}
            found.append(win_table((task, model, metric), columns, better))
    return found


def _gather(scores: Iterable[dict[str, Any]]) -> tuple[dict[str, _Method], dict[str, str]]:
    """Return the scores of a board by method, and the cluster of every sample."""
    methods: dict[str, _Method] = defaultdict(_Method)
    clusters: dict[str, str] = {}
    for score in scores:
        method = methods[score["label"]]
        method.version = score["method_version"]
        method.add(score)
        clusters[score["sample_id"]] = score["cluster"]
    return methods, clusters


def _board(task: str, version: int, model: str, metric: str, scores: Iterable[dict[str, Any]], n_resamples: int) -> list[Row]:
    methods, clusters = _gather(scores)
    everywhere = sorted({sample for method in methods.values() for sample in method.values})
    complete = [label for label, method in methods.items() if everywhere and len(method.values) == len(everywhere)]
    better: Better = METRICS[metric].better if metric in METRICS else "neither"
    resampled = _resample(methods, clusters, n_resamples)
    ranked = {} if better == "neither" else standings({label: resampled[label] for label in complete}, better)
    wins = mean_wins({label: _values(methods[label], everywhere) for label in ranked}, better)
    found: list[Row] = []
    for label, method in methods.items():
        standing, own = ranked.get(label), resampled.get(label)
        low, high = own.interval if own else (None, None)
        found.append(
            Row(
                task=task,
                task_version=version,
                model=model,
                metric=metric,
                method=label,
                method_version=method.version,
                better=better,
                unit=METRICS[metric].unit if metric in METRICS else "",
                track=METRICS[metric].track if metric in METRICS else "",
                state=_state(method, label in complete),
                mean=own and own.mean,
                low=low,
                high=high,
                chance=_average(method.chances),
                n=len(method.values),
                n_samples=len(everywhere),
                n_failed=len(method.failed),
                n_degenerate=len(method.degenerate),
                n_excluded=len(method.excluded),
                rank=standing and standing.rank,
                rank_low=standing and standing.rank_low,
                rank_high=standing and standing.rank_high,
                tie_group=standing and standing.tie_group,
                p_best=standing and standing.p_best,
                below=tuple(name for name in FLOORS if standing and name in ranked and ranked[name].rank < standing.rank),
                forwards=_average(method.forwards),
                seconds=_average(method.seconds),
                reason=_most_frequent(method.reasons),
                exclusion=_most_frequent(method.exclusions),
                backwards=_average(method.backwards),
                wins=wins.get(label),
                badge=_badge(label, method),
            )
        )
    return sorted(found, key=lambda row: (row.rank is None, row.rank or 0, -row.n, row.method))


def _resample(methods: dict[str, _Method], clusters: dict[str, str], n_resamples: int) -> dict[str, Resampled]:
    """Bootstrap every method on its own samples; those with the same samples meet the same resamples."""
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for label, method in methods.items():
        if method.values:
            same[tuple(sorted(method.values))].append(label)
    found: dict[str, Resampled] = {}
    for samples, labels in same.items():
        bootstrap = _bootstrap(samples, tuple(clusters[sample] for sample in samples), n_resamples)
        found |= bootstrap.resample({label: _values(methods[label], samples) for label in labels})
    return found


@lru_cache(maxsize=4)
def _bootstrap(samples: tuple[str, ...], clusters: tuple[str, ...], n_resamples: int) -> Bootstrap:
    return Bootstrap(samples, clusters, n_resamples)  # the metrics of one task share their samples


def _values(method: _Method, samples: Sequence[str]) -> Float[np.ndarray, " sample"]:
    """Return a method's values in the order of ``samples``; ``nan`` where it has none."""
    found = [method.values.get(sample, (math.nan,)) for sample in samples]
    return np.array([values[0] if len(values) == 1 else float(np.mean(values)) for values in found])


def _state(method: _Method, is_complete: bool) -> RowState:
    if is_complete:
        return "ranked"
    if method.values:
        return "partial"
    return "unsupported" if method.reasons else "excluded"


def _badge(label: str, method: _Method) -> Rung:
    """Return the rung of the newest verification, or what the store itself shows when there is none."""
    if method.verified is not None:
        return method.verified
    if method.unexplained:
        return "self-reported"
    return "recomputed" if label.startswith(HANDED_IN) else "re-run"


def _most_frequent(reasons: Counter[str]) -> str | None:
    return reasons.most_common(1)[0][0] if reasons else None


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
