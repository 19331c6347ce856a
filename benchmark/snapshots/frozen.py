"""The rows of a store as Parquet files: exactly those that its leaderboards show, in one order, without payloads."""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from benchmark.ranking import Selection
from benchmark.ranking.boards import NEWEST, SHOWN
from benchmark.snapshots.manifest import SnapshotError
from benchmark.store import schema
from benchmark.store.paths import literal

_CHOSEN = f"""
CREATE TEMP TABLE chosen AS
WITH {NEWEST}
SELECT scores.* FROM scores {SHOWN}
WHERE {{condition}}
"""
_ORDER = "task, encoder, metric, label, position, seed, unit_key"

# What is left out can be worked out again (score_key) or is no number (payload). A file's path in a reason becomes its
# name, and what a reason quotes goes with the texts.
FROZEN = {
    "scores": f"""
        SELECT * EXCLUDE (score_key) REPLACE ({{reason}} AS reason) FROM chosen ORDER BY {_ORDER}""",
    "explanations": """
        SELECT * EXCLUDE (payload) REPLACE ({reason} AS reason) FROM explanations
        WHERE unit_key IN (SELECT unit_key FROM chosen) ORDER BY encoder, revision, label, data, sample_id, seed, unit_key""",
    "samples": """
        SELECT * REPLACE (if(data IN ({hidden}), '', text) AS text) FROM samples
        WHERE EXISTS (SELECT 1 FROM chosen JOIN explanations USING (unit_key) WHERE explanations.data = samples.data
            AND explanations.data_version = samples.data_version AND explanations.sample_id = samples.sample_id
            AND explanations.text_hash = samples.text_hash)
        OR EXISTS (SELECT 1 FROM chosen WHERE chosen.status = 'excluded' AND chosen.data = samples.data
            AND chosen.sample_id = samples.sample_id AND chosen.data_version = samples.data_version)
        ORDER BY data, data_version, sample_id, text_hash""",
    "verifications": """
        SELECT * FROM verifications WHERE (label, method_version, task, encoder, revision) IN
            (SELECT (label, method_version, task, encoder, revision) FROM chosen)
        ORDER BY created, label, task, encoder""",
}
_REASON = r"""CASE WHEN data IN ({hidden}) THEN regexp_replace(reason, '(''.*''|".*")', '(not shown)') ELSE reason END"""
_PATHS = r"regexp_replace({reason}, '(^|[\s(''\"])(?:/[^/\s]+)+/', '\1', 'g')"
_EMPTY_PAYLOAD = "NULL::BLOB AS payload"
_SCORE_KEY = (
    """substr(sha256('{"metric":"' || metric || '","task":"' || task_hash || '","unit":"' || unit_key || '"}'), 1, 32)"""
)


def choose(connection: duckdb.DuckDBPyConnection, selection: Selection) -> int:
    """Make the temporary table ``chosen`` of the scores that leaderboards of a selection show; return how many there are."""
    condition, parameters = selection.condition()
    connection.execute(_CHOSEN.format(condition=condition), parameters)
    (count,) = connection.execute("SELECT count(*) FROM chosen").fetchone() or (0,)
    return int(count)


def freeze(connection: duckdb.DuckDBPyConnection, folder: Path, hidden: Sequence[str]) -> None:
    """Write the chosen rows; texts of the data sets in ``hidden``, and what their reasons quote, are left out."""
    names = ", ".join(f"'{name}'" for name in hidden) or "NULL"
    reason = _PATHS.format(reason=_REASON.format(hidden=names))
    for table, query in FROZEN.items():
        write(connection, query.format(hidden=names, reason=reason), folder / f"{table}.parquet")


def write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write a query's rows in their order; the same rows give the same bytes with the same version of DuckDB."""
    connection.execute("SET threads = 1")
    connection.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19)")


def thaw(connection: duckdb.DuckDBPyConnection, folder: Path, schema_version: int) -> None:
    """Lay frozen rows out as the tables of a store, for anything that reads stores; payloads are empty."""
    if schema_version > schema.SCHEMA_VERSION:
        raise SnapshotError(
            f"{folder} was made with a newer version of the benchmark (schema {schema_version}; this one knows "
            f"{schema.SCHEMA_VERSION}). Update with `pip install --upgrade xlip-bench`"
        )
    connection.execute("SET TimeZone = 'UTC'")
    for table in FROZEN:
        path = folder / f"{table}.parquet"
        if not path.is_file():
            raise SnapshotError(f"{folder} has no {path.name}; restore it from where the snapshot was published")
        more = {"scores": f"{_SCORE_KEY} AS score_key", "explanations": _EMPTY_PAYLOAD}.get(table)
        columns = f"{more}, *" if more else "*"
        try:
            connection.execute(f"CREATE TABLE {table} AS SELECT {columns} FROM read_parquet({literal(path)})")
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise SnapshotError(f"{path} cannot be read: {first}. Restore it from where it was published") from error
