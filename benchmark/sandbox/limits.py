"""What a submission may take, and the errors that say what it took too much of or did wrong."""

from dataclasses import dataclass

from benchmark.errors import BenchmarkError, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings for one submission's whole process tree; whatever passes one is killed, and its unit is a failure.

    ``memory_mb`` is resident memory summed over all processes, ``threads`` over all processes too. ``output_mb`` is what one
    process tree may print in its life, ``scratch_mb`` the size of its only writable folder, ``message_mb`` of one message to
    us. ``deaths`` in a row end the attempts: what is left is refused at once.
    """

    memory_mb: int = 4096
    seconds_per_unit: float = 300.0
    start_seconds: float = 180.0
    processes: int = 16
    threads: int = 256
    output_mb: float = 4.0
    scratch_mb: int = 256
    message_mb: int = 256
    deaths: int = 3

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise InvalidInput(f"the limit {name} must be above 0; got {getattr(self, name)}")


class SandboxError(BenchmarkError):
    """A submission that was stopped, died or broke a rule."""


class SandboxUnavailable(SandboxError):
    """This system has no means of confining a process, or they do not work here."""


class StartFailed(SandboxError):
    """A submission that could not be loaded."""


class SubmissionError(SandboxError):
    """An exception that a submission raised; the message names its class."""


class TimeLimit(SandboxError):
    """Longer than a unit or a start may take."""


class MemoryLimit(SandboxError):
    """More resident memory than a submission may hold."""


class ProcessLimit(SandboxError):
    """More processes or threads than a submission may start."""


class OutputLimit(SandboxError):
    """More printed than a submission may print."""


class ProtocolError(SandboxError):
    """A message that is no message of ours, or one too large."""


class ProcessDied(SandboxError):
    """A process that ended by itself in the middle of its work."""


class ChangedWeights(SandboxError):
    """A submission whose copy of the encoder is not the encoder any more."""


class GivenUp(SandboxError):
    """A submission that died too often in a row to be tried again."""
