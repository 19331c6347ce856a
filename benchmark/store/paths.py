"""Where a store is, the files beside it, and how one is replaced whole."""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmark.errors import StoreError

DEFAULT_STORE = Path("results/benchmark.duckdb")


class StoreFull(StoreError):
    """The disk is full; what was stored stays stored."""


def default_path() -> Path:
    """Return ``XLIP_STORE`` when it is set, else ``results/benchmark.duckdb``."""
    return Path(os.environ.get("XLIP_STORE") or DEFAULT_STORE)


def literal(path: Path | str) -> str:
    """Return a path or an address as a string of SQL, for statements that take no parameters."""
    return "'" + str(path).replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """The published file, which is only ever replaced whole, and the writer's files beside it."""

    published: Path

    def _beside(self, suffix: str) -> Path:
        return self.published.with_name(self.published.name + suffix)

    @property
    def lock(self) -> Path:
        """Held with ``flock`` by the one writer; names it."""
        return self._beside(".lock")

    @property
    def part(self) -> Path:
        """The writer's own database, ahead of the published one; left behind by a killed run, for the next."""
        return self._beside(".part")

    @property
    def part_wal(self) -> Path:
        """DuckDB's write-ahead log of ``part``: transactions that no checkpoint has taken in yet."""
        return self._beside(".part.wal")

    @property
    def copying(self) -> Path:
        """A copy being made; worthless until it is renamed."""
        return self._beside(".copying")


def replace_with_copy(source: Path, target: Path, scratch: Path) -> None:
    """Put a copy of ``source`` in place of ``target``: whoever opens ``target`` finds the old file or the whole new one."""
    shutil.copyfile(source, scratch)
    replace(scratch, target)


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` onto ``target``, durably."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's (or folder's) contents are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn a full disk or an unwritable folder into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path) from error
        raise StoreError(f"the store {path} cannot be written: {error.strerror or error}") from error
    except duckdb.Error as error:
        if any(sign in str(error) for sign in ("No space left", "Disk quota", "not enough space")):
            raise _full(path) from error
        if isinstance(error, duckdb.IOException | duckdb.FatalException):
            first = str(error).splitlines()[0]
            raise StoreError(f"the store {path} cannot be written: {first}") from error
        raise


def _full(path: Path) -> StoreFull:
    return StoreFull(f"the disk of {path} is full; what was stored is kept: free some space and repeat the command")
