"""Opening a store or a snapshot: read-only, shared by all readers, and opened anew once the file was replaced."""

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Literal

import duckdb

from benchmark.errors import StoreError
from benchmark.snapshots.manifest import MANIFEST, SnapshotError
from benchmark.snapshots.reader import is_snapshot, open_snapshot
from benchmark.store import default_path, schema
from benchmark.store.paths import StoreFiles

Version = tuple[int, int, int]
"""Inode, time of change and size of a file: what differs once a run has published anew."""

INSIDE: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": "false", "lock_configuration": "true"}
"""Settings that keep every query inside its file, for good."""

Trouble = Literal["missing", "unfinished", "empty", "older", "newer", "foreign", "damaged", "snapshot"]


class Unreadable(StoreError):
    """A store that cannot be shown; ``trouble`` says which page to show instead."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble: Trouble = trouble


@dataclass(slots=True)
class _Opened:
    version: Version
    connection: duckdb.DuckDBPyConnection
    kept: ExitStack
    readers: int = 0


class Store:
    """A store file, or the folder of a snapshot. Every query sees one published state; none waits for a writer.

    DuckDB shares a file among the connections of a process, so the connection to a replaced file is closed before the new
    one is opened, and only while nobody reads. Whoever reads meanwhile keeps what it opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._opened: _Opened | None = None

    @property
    def is_snapshot(self) -> bool:
        """Whether this is a folder of frozen tables rather than a store that may grow."""
        return self.path.is_dir()

    @property
    def version(self) -> Version:
        """The state on the disk now; part of the key of everything that is computed from it."""
        watched = self.path / MANIFEST if self.is_snapshot else self.path
        try:
            found = watched.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    @contextmanager
    def reading(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Lend a connection of its own for some queries; raise ``Unreadable`` where the file is no readable store."""
        with self._lock:
            opened = self._current()
            opened.readers += 1
            cursor = opened.connection.cursor()
        try:
            yield cursor
        except duckdb.Error as error:
            raise Unreadable("damaged", f"{self.path} cannot be read: {_first_line(error)}") from error
        finally:
            cursor.close()
            with self._lock:
                opened.readers -= 1

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.kept.close()
                self._opened = None

    def _current(self) -> _Opened:
        """Return what is open, or open what is on the disk now; the caller holds the lock."""
        version = self.version
        if self._opened is not None:
            if self._opened.version == version or self._opened.readers:
                return self._opened
            self._opened.kept.close()
            self._opened = None
        kept = ExitStack()
        opening = _open_snapshot if self.is_snapshot else _open_store
        self._opened = _Opened(version, opening(self.path, kept), kept)
        return self._opened


@cache
def opened(path: Path) -> Store:
    """Return the one reader of a store that all visitors share."""
    return Store(path)


def shown() -> Path:
    """Return the store or the snapshot that is to be shown: ``XLIP_SNAPSHOT``, else ``XLIP_STORE`` or its default."""
    snapshot = os.environ.get("XLIP_SNAPSHOT")
    return Path(snapshot) if snapshot else default_path()


def _open_store(path: Path, kept: ExitStack) -> duckdb.DuckDBPyConnection:
    if not path.exists():
        if StoreFiles(path).part.exists():
            raise Unreadable("unfinished", f"{path} was never published; a killed run left its rows in {path.name}.part")
        raise Unreadable("missing", f"there is no store at {path}")
    try:
        connection = duckdb.connect(path, read_only=True, config=INSIDE)
    except duckdb.Error as error:
        raise Unreadable("damaged", f"{path} cannot be opened as a DuckDB file: {_first_line(error)}") from error
    with ExitStack() as stack:
        stack.enter_context(connection)
        _require_current(connection, path)
        kept.push(stack.pop_all())
    return connection


def _require_current(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        found = schema.version_of(connection, path)
    except StoreError as error:
        raise Unreadable("foreign", str(error)) from error
    except duckdb.Error as error:
        raise Unreadable("damaged", f"{path} cannot be read: {_first_line(error)}") from error
    if found is None:
        raise Unreadable("empty", f"{path} is an empty DuckDB file")
    if found < schema.SCHEMA_VERSION:
        raise Unreadable("older", f"{path} has schema {found}; this version of the benchmark reads {schema.SCHEMA_VERSION}")
    if found > schema.SCHEMA_VERSION:
        raise Unreadable("newer", f"{path} has schema {found}; this version of the benchmark reads {schema.SCHEMA_VERSION}")


def _open_snapshot(folder: Path, kept: ExitStack) -> duckdb.DuckDBPyConnection:
    """Read the frozen tables of a snapshot into memory, where they stay until ``kept`` is closed."""
    if not is_snapshot(folder):
        raise Unreadable("snapshot", f"{folder} is no snapshot: it holds no {MANIFEST}")
    try:
        connection = kept.enter_context(open_snapshot(folder))
    except SnapshotError as error:
        raise Unreadable("snapshot", str(error)) from error
    except (duckdb.Error, OSError) as error:
        raise Unreadable("damaged", f"the snapshot {folder} cannot be read: {_first_line(error)}") from error
    for name, value in INSIDE.items():
        connection.execute(f"SET {name} = {value}")
    return connection


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
