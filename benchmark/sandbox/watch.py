"""Watching a process tree from outside: memory, processes, time and output, and an end to whatever takes too much."""

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from benchmark.sandbox.limits import Limits, MemoryLimit, OutputLimit, ProcessLimit, SandboxError, TimeLimit

PERIOD = 0.02
"""Seconds between two looks: at a gigabyte a second, 20 MB may be taken unseen."""
KEPT_BYTES = 4096
"""Of the last output, for the reason of a failure."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """A thread beside a process; ``verdict`` is why it was killed, if it was killed by us.

    ``n_own`` processes of the tree belong to the confinement, not to the submission.
    """

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, n_own: int) -> None:
        self.verdict: SandboxError | None = None
        self._process = process
        self._limits = limits
        self._n_own = n_own
        self._deadline: tuple[float, str] | None = None
        self._peak = self._held = 0.0
        self._printed = 0
        self._tail: deque[bytes] = deque()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def allow(self, seconds: float | None, what: str = "") -> None:
        """Give the process this long from now; ``None`` is any time."""
        self._deadline = None if seconds is None else (time.monotonic() + seconds, f"{what} took more than {seconds:g} s")

    def begin(self) -> None:
        """Forget the peak of memory so far."""
        self._held = self._peak = tree(self._process.pid).megabytes

    @property
    def taken_mb(self) -> float:
        """Return the most memory held above what was held at ``begin``."""
        return max(0.0, max(self._peak, tree(self._process.pid).megabytes) - self._held)

    @property
    def last_words(self) -> str:
        """Return the end of what was printed, harmless for a terminal."""
        return harmless(b"".join(self._tail).decode("utf-8", "replace")[-400:])

    def kill(self) -> None:
        """End the whole tree; in a namespace of its own, with its first process everything in it ends."""
        for pid in (self._process.pid, *reversed(tree(self._process.pid).pids)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        open_end = True
        while self._process.poll() is None:
            began = time.monotonic()
            if open_end:
                open_end = self._drain(output)
            else:
                time.sleep(PERIOD)
            error = self._judge()
            if error is not None:
                self.verdict = error
                self._stop()
                break
            time.sleep(max(0.0, PERIOD - (time.monotonic() - began)))
        if open_end:
            self._drain(output)

    def _stop(self) -> None:
        """Kill until nothing is left: a tree that grows while it is read may need a second look."""
        while True:
            pids = tree(self._process.pid).pids
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if self._process.poll() is not None:
                return
            time.sleep(PERIOD)

    def _drain(self, output: int) -> bool:
        """Read what is there, up to a second's worth; false at the end of the output."""
        while select.select([output], [], [], 0)[0]:
            data = os.read(output, 2**16)
            if not data:
                return False
            self._printed += len(data)
            self._tail.append(data[-KEPT_BYTES:])
            while len(self._tail) > 8:
                self._tail.popleft()
            if self._printed > self._limits.output_mb * 2**20:
                return True
        return True

    def _judge(self) -> SandboxError | None:
        limits, held = self._limits, tree(self._process.pid)
        self._peak = max(self._peak, held.megabytes)
        n_processes = len(held.pids) - self._n_own
        if n_processes > limits.processes:
            return ProcessLimit(f"the submission ran {n_processes} processes; it may run {limits.processes}")
        if held.megabytes > limits.memory_mb:
            return MemoryLimit(f"the submission held {held.megabytes:.0f} MB of memory; it may hold {limits.memory_mb}")
        if held.threads > limits.threads:
            return ProcessLimit(f"the submission ran {held.threads} threads; it may run {limits.threads}")
        if self._printed > limits.output_mb * 2**20:
            return OutputLimit(f"the submission printed more than {limits.output_mb:g} MB")
        deadline = self._deadline
        if deadline is not None and time.monotonic() > deadline[0]:
            return TimeLimit(deadline[1])
        return None


class Tree:
    """A process and all that descend from it, at one moment."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.threads = 0
        self.megabytes = 0.0


def tree(root: int) -> Tree:
    """Return what a process and its descendants hold; those that end meanwhile are left out.

    Descendants cannot leave: in a namespace of its own an orphan becomes a child of the namespace's first process.
    """
    found, waiting = Tree(), [root]
    while waiting:
        pid = waiting.pop()
        folder = Path("/proc", str(pid))
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children = [(task / "children").read_text() for task in (folder / "task").iterdir()]
        except OSError:
            continue
        found.pids.append(pid)
        found.threads += int(fields[17])
        found.megabytes += int(fields[21]) * _PAGE / 2**20
        waiting += [int(child) for line in children for child in line.split()]
    return found


def harmless(text: str) -> str:
    """Return a text on one line without anything that a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
