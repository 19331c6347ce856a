"""One submission's process: started in its confinement, spoken to over a socket, and ended for sure."""

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.sandbox.confinement import LIBRARY, N_OWN, PACKAGE, SUBMISSION, Confinement, confined, environment, view
from benchmark.sandbox.limits import Limits, ProcessDied, ProtocolError, SandboxError
from benchmark.sandbox.watch import Watch
from benchmark.sandbox.wire import Message, receive, send

BEGIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); from benchmark.sandbox.child import main; main(int(sys.argv[2]), sys.argv[3])"
)


class Process:
    """A process that answers; its death is an error that says why, and leaves nothing behind.

    ``encoder`` names the one that it is to load itself, or is ``None``.
    """

    def __init__(
        self, folder: Path, limits: Limits, confinement: Confinement, *, encoder: str | None = None, accelerator: bool = False
    ) -> None:
        self.limits = limits
        self._greeted = False
        self._connection, theirs = socket.socketpair()
        self._scratch = tempfile.TemporaryDirectory(prefix="xlip-") if confinement == "none" else None
        outside = str(PACKAGE.parent), str(folder.resolve())
        library, submission = outside if confinement == "none" else (LIBRARY, SUBMISSION)
        command = [sys.executable, "-I", "-c", BEGIN, library, str(theirs.fileno()), submission]
        with theirs:
            self._process = subprocess.Popen(
                confined(command, view(folder, limits, encoder=encoder, accelerator=accelerator), confinement),
                env=environment(confinement),
                cwd=self._scratch.name if self._scratch else "/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for us; we end the process
            )
        self.watch = Watch(self._process, limits, N_OWN[confinement])

    def ask(
        self,
        kind: str,
        fields: Mapping[str, Any],
        arrays: Mapping[str, Any],
        *,
        answer: Callable[[Message], Message],
        ends: tuple[str, ...],
        seconds: float,
        what: str,
    ) -> Message:
        """Send a message and return the one that ends the matter; ``answer`` meets what is asked of us in between.

        Whatever goes wrong ends the process and is raised.
        """
        self.watch.allow(seconds, what)
        try:
            if not self._greeted:  # nothing is handed over before the process is one that ends with us
                receive(self._connection, 0)
                self._greeted = True
            send(self._connection, Message(kind, fields, arrays))
            while True:
                message = receive(self._connection, int(self.limits.message_mb * 2**20))
                if message.kind in ends:
                    return message
                send(self._connection, answer(message))
        except (EOFError, OSError) as error:
            raise self._obituary() from error
        except BaseException:
            self.end()
            raise
        finally:
            self.watch.allow(None)

    def _obituary(self) -> SandboxError:
        """End what is left and return why the process is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        status = self._process.poll()
        self.end()
        if self.watch.verdict is not None:
            return self.watch.verdict
        how = "hung up" if status is None else f"ended with status {status}"
        words = self.watch.last_words
        return ProcessDied(
            f"the submission's process {how} in the middle of its work" + (f"; it said: {words}" if words else "")
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None and self.watch.verdict is None

    def end(self) -> None:
        """Kill the process and all that it started."""
        self._connection.close()
        self.watch.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self._scratch is not None:
            self._scratch.cleanup()


def nothing_to_ask(message: Message) -> Message:
    """Answer a process that has no business asking."""
    raise ProtocolError(f"the submission's process sent {message.kind[:40]!r}, which has no meaning here")
