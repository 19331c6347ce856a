"""A store as Parquet files, for shared and object storage, where no file can be locked or replaced whole.

``FOLDER/<table>/part=<name>/rows.parquet``: each store writes a part of its own, and one query reads all parts by glob. FOLDER
may be an address that DuckDB writes to, such as ``s3://bucket/board`` with its extension ``httpfs``.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmark.errors import InvalidInput, StoreError
from benchmark.store import schema
from benchmark.store.paths import disk_errors, literal
from benchmark.store.reader import open_store

TABLES = ("runs", "samples", "explanations", "scores", "verifications", "meta")
"""In the order in which they are written: a part without its last table is not there yet."""
_ORDERS = {"explanations": "data, sample_id, label, unit_key", "scores": "task, metric, label, position, score_key"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"[a-z][a-z0-9]*://")


@dataclass(frozen=True, slots=True)
class Part:
    """What one store wrote into a folder."""

    folder: str
    name: str

    def __str__(self) -> str:
        return f"{self.folder}/*/part={self.name}"

    def file(self, table: str) -> str:
        """Return where the rows of a table are."""
        return f"{self.folder}/{table}/part={self.name}/rows.parquet"


def is_address(text: str) -> bool:
    """Whether this names a place that only DuckDB can reach."""
    return _ADDRESS.match(text) is not None


def export(store: Path, folder: str, name: str | None = None) -> dict[str, int]:
    """Write a store as the part ``name`` of ``folder`` (default: the store's file name); return rows by table.

    The same part is replaced, so that writing twice changes nothing. Local files are replaced whole, one after another.
    """
    part = Part(folder.rstrip("/"), name or store.stem)
    if not _NAME.fullmatch(part.name):
        raise InvalidInput(f"{part.name!r} cannot name a part; use letters, digits, '-', '_' and '.'")
    counts: dict[str, int] = {}
    with open_store(store) as connection, disk_errors(Path(folder)), _understood(folder):
        for table in TABLES:
            order = f"ORDER BY {_ORDERS[table]}" if table in _ORDERS else "ORDER BY ALL"
            target = part.file(table)
            written = target if is_address(folder) else f"{target}.writing"
            if not is_address(folder):
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            query = f"COPY (SELECT * FROM {table} {order}) TO {literal(written)} (FORMAT parquet, COMPRESSION zstd)"
            (counts[table],) = connection.execute(query).fetchone() or (0,)
            if not is_address(folder):
                Path(written).replace(target)
    return counts


def parts_of(folder: str) -> list[Part]:
    """Return the parts that were written to the end, by name; there may be none."""
    pattern = Part(folder.rstrip("/"), "*")
    with duckdb.connect() as connection, _understood(folder):
        found = connection.execute("SELECT file FROM glob(?) ORDER BY file", [pattern.file(TABLES[-1])]).fetchall()
    return [Part(pattern.folder, file.replace("\\", "/").split("/")[-2].removeprefix("part=")) for (file,) in found]


def check(part: Part) -> None:
    """Raise ``StoreError`` unless this program can read a part."""
    with duckdb.connect() as connection, _understood(part.folder):
        row = connection.execute("SELECT schema_version FROM read_parquet(?)", [part.file("meta")]).fetchone()
    found = int(row[0]) if row else None
    schema.require_readable(found, part)
    if found != schema.SCHEMA_VERSION:
        raise StoreError(f"{part} has an older schema ({found}); bring its store up to date and export it again")


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, part: Part, name: str) -> Generator[None]:
    """Let the tables of a part be read as ``name.<table>`` for a while."""
    connection.execute(f"ATTACH ':memory:' AS {name}")
    try:
        for table in TABLES:
            rows = f"read_parquet({literal(part.file(table))}, hive_partitioning = false)"
            connection.execute(f"CREATE VIEW {name}.{table} AS SELECT * FROM {rows}")
        yield
    finally:
        connection.execute(f"DETACH {name}")


@contextmanager
def _understood(folder: str) -> Generator[None]:
    try:
        yield
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        more = " (addresses need DuckDB's extension httpfs)" if is_address(folder) else ""
        raise StoreError(f"{folder} cannot be read or written as Parquet: {first}{more}") from error
