"""Every question that is put to a store. Names of columns and tables are written here; values are parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from duckdb import DuckDBPyConnection

from benchmark.site.access import Store
from benchmark.store import rows

Facts = dict[str, Any]
Table = Literal["scores", "explanations", "samples", "runs", "failures"]

DOWNLOADS: Mapping[Table, str] = {
    "scores": "SELECT * FROM scores ORDER BY task, encoder, metric, label, position, seed LIMIT ?",
    "explanations": "SELECT * EXCLUDE (payload) FROM explanations ORDER BY label, data, sample_id, seed LIMIT ?",
    "samples": "SELECT * FROM samples ORDER BY data, sample_id LIMIT ?",
    "runs": "SELECT * FROM runs ORDER BY started LIMIT ?",
    "failures": "SELECT * EXCLUDE (payload) FROM explanations WHERE status <> 'ok' ORDER BY label, sample_id LIMIT ?",
}
"""Tables that are handed out whole; payloads are arrays and stay in the store."""

MOST_ROWS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What identifies a ranked table."""

    task: str
    task_version: int
    model: str
    metric: str
    n_scores: int


def boards(store: Store) -> list[Board]:
    """Return every board of a store that has scores; of a task the version that was scored last."""
    query = """
        WITH newest AS (SELECT task, arg_max(task_version, created) AS task_version FROM scores GROUP BY task)
        SELECT task, task_version, encoder AS model, metric, count(*) AS n_scores
        FROM scores JOIN newest USING (task, task_version) GROUP BY ALL ORDER BY ALL"""
    with store.reading() as connection:
        return [Board(**row) for row in rows(connection, query)]


def labels(store: Store) -> list[Facts]:
    """Return the methods that were explained or scored: label, method, newest version, its parameters (JSON)."""
    query = """
        SELECT label, any_value(method) AS method, max(method_version) AS method_version,
            arg_max(parameters, method_version) AS parameters
        FROM explanations GROUP BY label
        UNION ALL
        SELECT label, any_value(method), max(method_version), NULL FROM scores
        WHERE label NOT IN (SELECT label FROM explanations) GROUP BY label ORDER BY label"""
    return _ask(store, query)


def overview(store: Store) -> Facts:
    """Return how much a store holds, and when it was last added to."""
    query = """
        SELECT (SELECT count(*) FROM scores) AS n_scores, (SELECT count(*) FROM explanations) AS n_explanations,
            (SELECT count(*) FROM samples) AS n_samples, (SELECT count(*) FROM runs) AS n_runs,
            (SELECT max(created) FROM scores) AS newest,
            (SELECT count(*) FROM runs WHERE status = 'running') AS n_running"""
    return _ask(store, query)[0]


def runs(store: Store) -> list[Facts]:
    """Return the runs, newest first."""
    query = """
        SELECT run_id, status, started, finished, n_units, n_failed, device, "commit", dirty, command
        FROM runs ORDER BY started DESC LIMIT 200"""
    return _ask(store, query)


def failures(store: Store) -> list[Facts]:
    """Return why explanations are missing: method, encoder, status, class, reason, how many, and one sample of each."""
    query = """
        SELECT label, encoder, data, status, coalesce(error_class, '') AS error_class, coalesce(reason, '') AS reason,
            count(*) AS n, min(sample_id) AS sample_id
        FROM explanations WHERE status <> 'ok' GROUP BY ALL ORDER BY n DESC, label, reason LIMIT 2000"""
    return _ask(store, query)


def score_failures(store: Store) -> list[Facts]:
    """Return why scores are missing or stand at chance, by method, task and metric."""
    query = """
        SELECT label, encoder, task, metric, status, coalesce(reason, '') AS reason, count(*) AS n, min(sample_id) AS sample_id
        FROM scores WHERE status <> 'ok' GROUP BY ALL ORDER BY status, n DESC, label, task, metric LIMIT 5000"""
    return _ask(store, query)


def coverage(store: Store, label: str) -> list[Facts]:
    """Return for one method how its explanations ended, by encoder and data set, with its median cost."""
    query = """
        SELECT encoder, data, count(*) AS n, count(*) FILTER (status = 'ok') AS n_ok,
            count(*) FILTER (status = 'failed') AS n_failed, count(*) FILTER (status = 'unsupported') AS n_unsupported,
            median(seconds) FILTER (status = 'ok') AS seconds,
            median(image_forwards + text_forwards) FILTER (status = 'ok') AS forwards,
            median(backwards) FILTER (status = 'ok') AS backwards
        FROM explanations WHERE label = ? GROUP BY ALL ORDER BY ALL"""
    return _ask(store, query, [label])


def data_versions(store: Store) -> list[Facts]:
    """Return the data sets that were explained: version, samples, images."""
    query = """
        SELECT data, data_version, count(*) AS n_samples, count(DISTINCT cluster) AS n_images
        FROM samples GROUP BY ALL ORDER BY ALL"""
    return _ask(store, query)


def texts(store: Store, data: str, most: int = 5) -> list[Facts]:
    """Return the first samples of a data set: version, id, text, strata (JSON)."""
    query = """
        SELECT data_version, sample_id, text, strata FROM samples WHERE data = ?
        ORDER BY data_version DESC, length(sample_id), sample_id LIMIT ?"""
    return _ask(store, query, [data, most])


def costs(store: Store, model: str) -> list[Facts]:
    """Return the median cost of every method with one encoder: forwards, backwards and seconds for each explanation."""
    query = """
        SELECT label, median(image_forwards + text_forwards) AS forwards, median(backwards) AS backwards,
            median(seconds) AS seconds
        FROM explanations WHERE encoder = ? AND status = 'ok' GROUP BY label ORDER BY label"""
    return _ask(store, query, [model])


def schema_text(store: Store) -> str:
    """Return the SQL that lays out this store."""
    query = "SELECT sql FROM duckdb_tables() UNION ALL SELECT sql FROM duckdb_views() WHERE NOT internal"
    return "\n\n".join(row["sql"].strip().replace(", ", ",\n    ") for row in _ask(store, query))


def whole(store: Store, table: Table, hidden: Sequence[str] = ()) -> pd.DataFrame:
    """Return one of the tables that are handed out; texts and reasons of the data sets in ``hidden`` are left out."""
    with store.reading() as connection:
        found = connection.execute(DOWNLOADS[table], [MOST_ROWS]).df()
    for column in {"text", "reason"} & set(found):
        found.loc[found["data"].isin(list(hidden)), column] = None
    return found


def size_of(store: Store, table: Table) -> int:
    """Return the number of rows of a table that is handed out."""
    counted = DOWNLOADS[table].partition("ORDER BY")[0].replace("SELECT *", "SELECT 1 AS one, *", 1)
    with store.reading() as connection:
        return _first(connection, f"SELECT count(*) FROM ({counted})")


def _first(connection: DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _ask(store: Store, query: str, parameters: list[Any] | None = None) -> list[Facts]:
    with store.reading() as connection:
        return rows(connection, query, parameters)
