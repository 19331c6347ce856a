"""The tables of a store, their version, and how an older store becomes a current one."""

from collections.abc import Callable
from datetime import UTC, datetime

from duckdb import CatalogException, DuckDBPyConnection

from benchmark.errors import StoreError

SCHEMA_VERSION = 3

TABLES = """
CREATE TABLE meta (
    schema_version INTEGER NOT NULL,
    created TIMESTAMP NOT NULL,
    written_by VARCHAR NOT NULL
);
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    command VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    started TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    n_units INTEGER,
    n_failed INTEGER,
    "commit" VARCHAR,
    dirty BOOLEAN,
    versions JSON NOT NULL,
    device VARCHAR NOT NULL,
    seeds INTEGER[] NOT NULL,
    hardware JSON NOT NULL
);
CREATE TABLE samples (
    data VARCHAR NOT NULL,
    data_version VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    strata JSON NOT NULL,
    PRIMARY KEY (data, data_version, sample_id, text_hash)
);
CREATE TABLE explanations (
    unit_key VARCHAR PRIMARY KEY,
    encoder VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    method_version INTEGER NOT NULL,
    parameters JSON NOT NULL,
    data VARCHAR NOT NULL,
    data_version VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    status VARCHAR NOT NULL,
    error_class VARCHAR,
    reason VARCHAR,
    payload BLOB,
    payload_hash VARCHAR,
    similarity DOUBLE,
    explained_similarity DOUBLE,
    image_forwards DOUBLE NOT NULL,
    text_forwards DOUBLE NOT NULL,
    backwards DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL,
    peak_mb DOUBLE,
    device VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    created TIMESTAMP NOT NULL
);
CREATE TABLE scores (
    score_key VARCHAR PRIMARY KEY,
    unit_key VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    task_version INTEGER NOT NULL,
    task_hash VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    encoder VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    method_version INTEGER NOT NULL,
    data VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    status VARCHAR NOT NULL,
    value DOUBLE,
    chance DOUBLE,
    reason VARCHAR,
    flags JSON NOT NULL,
    run_id VARCHAR NOT NULL,
    created TIMESTAMP NOT NULL,
    data_version VARCHAR
);
"""

VERIFICATIONS = """
CREATE TABLE verifications (
    label VARCHAR NOT NULL,
    method_version INTEGER NOT NULL,
    task VARCHAR NOT NULL,
    encoder VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    rung VARCHAR NOT NULL CHECK (rung IN ('self-reported', 'recomputed', 're-run')),
    n_units INTEGER NOT NULL,
    n_agreeing INTEGER NOT NULL,
    tolerance DOUBLE,
    evidence JSON NOT NULL,
    run_id VARCHAR NOT NULL,
    created TIMESTAMP NOT NULL
);
"""

VIEWS = """
CREATE VIEW results AS
    SELECT scores.* EXCLUDE (run_id, created, flags, data_version),
        scores.data_version, samples.text, samples.strata, explanations.parameters, explanations.image_forwards,
        explanations.text_forwards, explanations.backwards, explanations.seconds, explanations.peak_mb,
        explanations.similarity, explanations.explained_similarity, scores.flags, scores.run_id, scores.created
    FROM scores
    LEFT JOIN explanations USING (unit_key)
    LEFT JOIN samples ON samples.data = explanations.data AND samples.data_version = explanations.data_version
        AND samples.sample_id = explanations.sample_id AND samples.text_hash = explanations.text_hash;
"""

# MIGRATIONS[n] turns a store of schema n into one of schema n + 1, inside a transaction.
MIGRATIONS: dict[int, Callable[[DuckDBPyConnection], None]] = {
    1: lambda connection: _tell_data_versions(connection),
    2: lambda connection: _keep_verifications(connection),
}


def _tell_data_versions(connection: DuckDBPyConnection) -> None:
    """Schema 2: a score says which version of its data it is of, so that two folders of one data set stay apart."""
    connection.execute("DROP VIEW results")
    connection.execute("ALTER TABLE scores ADD COLUMN data_version VARCHAR")
    connection.execute("""
        UPDATE scores SET data_version = explanations.data_version FROM explanations
        WHERE explanations.unit_key = scores.unit_key""")
    connection.execute("""
        UPDATE scores SET data_version = samples.data_version FROM samples
        WHERE scores.data_version IS NULL AND samples.data = scores.data AND samples.sample_id = scores.sample_id""")
    connection.execute(VIEWS)


def _keep_verifications(connection: DuckDBPyConnection) -> None:
    """Schema 3: a store keeps how far a method's scores were checked; older scores have no such rows."""
    connection.execute(VERIFICATIONS)


def utc_now() -> datetime:
    """Return the time as the store keeps it: UTC, without a zone (DuckDB needs another package to return one with)."""
    return datetime.now(UTC).replace(tzinfo=None)


def create(connection: DuckDBPyConnection, written_by: str) -> None:
    """Lay out an empty store, all or nothing."""
    connection.execute("BEGIN")
    connection.execute(TABLES + VERIFICATIONS + VIEWS)
    connection.execute("INSERT INTO meta VALUES (?, ?, ?)", [SCHEMA_VERSION, utc_now(), written_by])
    connection.execute("COMMIT")


def version_of(connection: DuckDBPyConnection, path: object) -> int | None:
    """Return the schema version, or ``None`` for an empty file; another program's database is an error."""
    try:
        row = connection.execute("SELECT schema_version FROM meta").fetchone()
    except CatalogException:
        if connection.execute("SELECT 1 FROM information_schema.tables LIMIT 1").fetchone() is None:
            return None
        raise StoreError(f"{path} is a DuckDB file, but not a store of this benchmark; name another with --store") from None
    if row is None:
        raise StoreError(f"{path} says no schema version; it is damaged. Restore a copy or name another with --store")
    return int(row[0])


def require_readable(version: int | None, path: object) -> None:
    """Raise unless this program can read a store of ``version``."""
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer version of the benchmark (schema {version}; this one knows {SCHEMA_VERSION}). "
            "Update with `pip install --upgrade xlip-bench`, or name another store with --store"
        )


def migrate(connection: DuckDBPyConnection, version: int) -> None:
    """Bring an older store up to date, one version at a time."""
    for step in range(version, SCHEMA_VERSION):
        connection.execute("BEGIN")
        MIGRATIONS[step](connection)
        connection.execute("UPDATE meta SET schema_version = ?", [step + 1])
        connection.execute("COMMIT")
