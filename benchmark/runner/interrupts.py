"""Ctrl-C and SIGTERM, kept away from the moments in which a row is written."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While open, the first signal raises ``KeyboardInterrupt``, at once or after a shielded block; later ones do nothing."""

    def __init__(self) -> None:
        self._asked = False
        self._raised = False
        self._shields = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def shielded(self) -> Generator[None]:
        """Put a signal off until the block is left."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._asked:
            self._stop()

    def hold_off(self) -> None:
        """Put signals off for good: what is left to do is short and must not be cut."""
        self._shields += 1

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._shields:
            self._stop()

    def _stop(self) -> None:
        if not self._raised:
            self._raised = True
            raise KeyboardInterrupt
