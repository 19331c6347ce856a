"""Progress on stderr: how many units, how fast, how long still."""

import sys
import time
from typing import TextIO

from benchmark.records import UnitResult

LINE_SECONDS = 10.0
TERMINAL_SECONDS = 0.2


class Progress:
    """One line that is rewritten on a terminal, and a line every ten seconds elsewhere."""

    def __init__(self, title: str, n_units: int, stream: TextIO | None = None) -> None:
        self._title, self._n_units = title, n_units
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._began = self._shown = time.monotonic()
        self._done = self._failed = 0

    def count(self, result: UnitResult) -> None:
        """Take note of one more unit."""
        self._done += 1
        self._failed += result.failed
        pause = TERMINAL_SECONDS if self._is_terminal else LINE_SECONDS
        if time.monotonic() - self._shown >= pause:
            self._show(end="" if self._is_terminal else "\n")

    def close(self) -> None:
        """Show the last state for good."""
        if self._n_units:
            self._show(end="\n")

    def _show(self, end: str) -> None:
        self._shown = time.monotonic()
        seconds = self._shown - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        parts = [f"{self._title}: {self._done} of {self._n_units} units", f"{rate:.2g}/s" if rate < 10 else f"{rate:.0f}/s"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._done < self._n_units and rate > 0:
            parts.append(f"{duration((self._n_units - self._done) / rate)} left")
        elif self._done == self._n_units:
            parts.append(f"took {duration(seconds)}")
        start = "\r\x1b[K" if self._is_terminal else ""
        print(start + ", ".join(parts), end=end, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Return a time in the two largest units that matter.

    >>> duration(3725)
    '1 h 2 min'
    >>> duration(0.26)
    '0.3 s'
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
