"""Opening a snapshot like a store: leaderboards, comparisons and the site read either."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from benchmark.records import canonical
from benchmark.snapshots.frozen import thaw
from benchmark.snapshots.manifest import MANIFEST, Manifest, read_manifest
from benchmark.store import schema


def is_snapshot(path: Path) -> bool:
    """Whether a path is a folder that says it is a snapshot."""
    return (path / MANIFEST).is_file()


@contextmanager
def open_snapshot(path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a snapshot for a while as a database in memory with the tables of a store.

    ``meta``, ``runs``, ``samples``, ``explanations`` (without payloads), ``scores``, ``verifications`` and the view
    ``results`` are there, so ``leaderboard(connection)`` gives the frozen tables. Texts that may not be shown are empty.
    Checksums are not looked at; ``benchmark snapshot verify`` does that. What cannot be read raises ``SnapshotError``.
    """
    manifest = read_manifest(path)
    with duckdb.connect() as connection:
        thaw(connection, path, manifest.schema_version)
        _describe(connection, manifest)
        connection.execute("CREATE VIEW results AS SELECT * FROM scores")  # migrations may want to replace one
        schema.migrate(connection, manifest.schema_version)
        connection.execute(f"DROP VIEW results; {schema.VIEWS}")
        yield connection


def _describe(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    """Add what a store says of itself and of its runs."""
    connection.execute("CREATE TABLE meta (schema_version INTEGER, created TIMESTAMP, written_by VARCHAR)")
    created = manifest.created.replace(tzinfo=None)
    connection.execute("INSERT INTO meta VALUES (?, ?, ?)", [manifest.schema_version, created, manifest.code.version])
    connection.execute("""
        CREATE TABLE runs (run_id VARCHAR, command VARCHAR, status VARCHAR, started TIMESTAMP, finished TIMESTAMP,
            n_units INTEGER, n_failed INTEGER, "commit" VARCHAR, dirty BOOLEAN, versions JSON, device VARCHAR,
            seeds INTEGER[], hardware JSON)""")
    for run in manifest.runs:
        shown = run.model_dump(mode="json") | {"started": run.started.replace(tzinfo=None), "seeds": list(run.seeds)}
        shown |= {"versions": canonical(run.versions), "hardware": canonical(run.hardware)}
        names = ", ".join(f'"{name}"' for name in shown)
        places = ", ".join("?" * len(shown))
        connection.execute(f"INSERT INTO runs ({names}) VALUES ({places})", list(shown.values()))
