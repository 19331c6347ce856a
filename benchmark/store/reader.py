"""Reading a store: read-only, never in a writer's way, and never waiting for one."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from benchmark.errors import StoreError
from benchmark.store import schema
from benchmark.store.paths import StoreFiles


@contextmanager
def open_store(path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the published store read-only for a while.

    The file is replaced whole by the writer and never changed, so a reader keeps the state that it opened; open it
    again to see newer rows.
    """
    if not path.exists():
        more = " (a killed run left its rows in a .part file: repeat its command)" if StoreFiles(path).part.exists() else ""
        raise StoreError(f"there is no store at {path}{more}; `benchmark run` makes one, --store or XLIP_STORE names another")
    try:
        connection = duckdb.connect(path, read_only=True)
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be opened as a store: {first}") from error
    with connection:
        found = schema.version_of(connection, path)
        schema.require_readable(found, path)
        if found != schema.SCHEMA_VERSION:
            raise StoreError(f"{path} has an older schema ({found}); any `benchmark run` on it brings it up to date")
        yield connection


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Run a query and return its rows as dictionaries."""
    result = connection.execute(query, dict(parameters) if isinstance(parameters, Mapping) else parameters or [])
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def known_status(connection: duckdb.DuckDBPyConnection, encoder: str, revision: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the status of every explanation of an encoder by unit key, and of every score by score key."""
    units = "SELECT unit_key, status FROM explanations WHERE encoder = ? AND revision = ?"
    scores = "SELECT score_key, status FROM scores WHERE encoder = ? AND revision = ?"
    found = [dict(connection.execute(query, [encoder, revision]).fetchall()) for query in (units, scores)]
    return found[0], found[1]


def query_store(path: Path, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer a user's SQL: column names and rows."""
    with open_store(path) as connection:
        try:
            result = connection.execute(query)
            return [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error
