"""One writer per store: a lock that dies with its process, and says who holds it."""

import fcntl
import json
import os
import platform
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from benchmark.errors import StoreError


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes to a store."""

    pid: int
    host: str
    command: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started}: {self.command}"


class WriterLock:
    """``flock`` on a file beside the store. The kernel releases it however its process ends, so it is never stale."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            store = self.path.with_suffix("")
            writer = _read(self.path) or "an unnamed process"
            raise StoreError(
                f"another run is writing to {store} ({writer}). Wait for it to end, or write elsewhere with --store; "
                "reading (leaderboard, list, sql, site) works meanwhile"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        holder = Holder(os.getpid(), platform.node(), shlex.join(sys.argv), datetime.now(UTC).isoformat(timespec="seconds"))
        with suppress(OSError):  # a full disk: the lock holds all the same, only unnamed
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(path: Path) -> Holder | None:
    """Return who holds a store's lock file right now, or ``None``."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path) or Holder(0, "an unknown host", "?", "?")
    finally:
        os.close(descriptor)
    return None


def _take(descriptor: int) -> None:
    for _ in range(3):  # ``holder_of`` in another process holds the lock for an instant; a writer holds it for longer
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
