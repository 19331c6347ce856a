"""A pool of workers: each loads the encoder once, explains and scores; none of them writes. One that dies is replaced.

``Crew`` is what a pool needs to know of where its workers live: here processes of this machine, in ``ray_workers`` actors.
"""

import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.records import UnitResult
from benchmark.runner.encoders import EncoderSource, is_on_cpu, use_one_thread
from benchmark.runner.execute import run_groups
from benchmark.runner.plan import Group

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

MAX_TRIES = 2
MAX_IDLE_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Job:
    """The units of some samples for one worker, side by side; those in ``lost`` are only to be written down as failed."""

    groups: tuple[Group, ...]
    lost: frozenset[str] = frozenset()

    def without(self, key: str) -> "Job":
        """Return what is left when a unit is done."""
        groups = (replace(group, units=tuple(unit for unit in group.units if unit.key != key)) for group in self.groups)
        return replace(self, groups=tuple(group for group in groups if group.units))


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker tells: it can begin, a unit begins, a unit's result, the job is done, or it cannot work at all."""

    kind: Literal["ready", "started", "result", "done", "refused", "broken"]
    content: Any = None


class WorkerDied(Exception):
    """A worker is gone without a word."""


class Bench:
    """The working side, in the worker's own process: holds the encoder and turns jobs into messages."""

    def __init__(self, source: EncoderSource) -> None:
        self._source = source
        self._encoder: DualEncoder | None = None

    def load(self) -> Message:
        """Load the encoder."""
        try:
            self._encoder = self._source.load()
            if is_on_cpu(self._encoder):
                use_one_thread()
        except Exception as error:
            return _trouble(error)
        return Message("ready")

    def work(self, job: Job) -> Iterator[Message]:
        """Yield two messages a unit, each before anything more is done, and a last one."""
        assert self._encoder is not None, "jobs come after load"
        try:
            results = run_groups(self._encoder, job.groups, len(job.groups), job.lost)
            for unit in [unit for group in job.groups for unit in group.units]:
                yield Message("started", unit.key)
                yield Message("result", next(results))
            yield Message("done")
        except Exception as error:
            yield _trouble(error)


def _trouble(error: Exception) -> Message:
    if isinstance(error, BenchmarkError):
        return Message("refused", str(error))
    return Message("broken", traceback.format_exc())


@dataclass(slots=True, eq=False)
class Worker(ABC):
    """The driver's side of one worker. ``since`` is when the unit in hand began, on the driver's monotonic clock."""

    is_ready: bool = False
    job: Job | None = None
    in_hand: str | None = None
    since: float = 0.0

    @abstractmethod
    def send(self, job: Job) -> None:
        """Hand over a job; ``WorkerDied`` when nobody is there, ``TypeError`` when it cannot be pickled."""

    @abstractmethod
    def receive(self) -> Message:
        """Return the next message, waiting for it; ``WorkerDied`` when none will come."""

    @abstractmethod
    def end(self) -> str:
        """End the worker at once, whatever it does, and say how it ended."""


class Crew(ABC):
    """Where workers come from; at most ``size`` at a time."""

    size: int

    @abstractmethod
    def hire(self) -> Worker:
        """Start a worker; its first message says that it is ready."""

    @abstractmethod
    def wait(self, workers: Sequence[Worker], seconds: float | None) -> list[Worker]:
        """Wait for at most ``seconds`` and return those that have something to say, the dead among them."""


class WorkerPool:
    """Hands groups to whoever is free and yields results in the order in which they are finished.

    A worker holds ``at_once`` groups at a time and is at most one unit ahead of the driver, so that nothing piles up. A worker
    that takes longer than ``unit_timeout`` seconds for one unit is killed and counts as dead; what it had left is tried
    again one group at a time, so that only the unit that is to blame can die twice.
    """

    def __init__(
        self, crew: Crew, prepare: Callable[[Group], Group], unit_timeout: float | None = None, at_once: int = 1
    ) -> None:
        self._crew = crew
        self._at_once = at_once
        self._prepare = prepare
        self._unit_timeout = unit_timeout
        self._workers: list[Worker] = []
        self._queue: deque[Job] = deque()
        self._deaths: Counter[str] = Counter()
        self._idle_deaths = 0

    def run(self, groups: Sequence[Group]) -> Generator[UnitResult]:
        """Yield every unit's result exactly once; leaving the iteration ends all workers."""
        share = math.ceil(len(groups) / self._crew.size)
        self._queue = deque(Job(part) for part in batched(groups, max(1, min(self._at_once, share))))
        try:
            while self._queue or any(worker.job for worker in self._workers):
                self._hand_out()
                expected = [worker for worker in self._workers if worker.job or not worker.is_ready]
                heard = self._crew.wait(expected, self._patience())
                for worker in [worker for worker in expected if worker not in heard and self._hangs(worker)]:
                    self._replace(worker)
                for worker in heard:
                    yield from self._hear(worker)
        finally:
            for worker in self._workers:
                worker.end()

    def _hand_out(self) -> None:
        free = [worker for worker in self._workers if worker.job is None]
        for _ in range(min(len(self._queue) - len(free), self._crew.size - len(self._workers))):
            self._workers.append(self._crew.hire())
        for worker in [worker for worker in free if worker.is_ready][: len(self._queue)]:
            job = self._queue.popleft()
            worker.job, worker.in_hand = job, None
            try:
                worker.send(replace(job, groups=tuple(map(self._prepare, job.groups))))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise BenchmarkError(f"this cannot be sent to a worker process ({error}); use --workers 1") from error
            except WorkerDied:
                self._replace(worker)

    def _patience(self) -> float | None:
        """Return the seconds until the first unit in hand has taken too long."""
        if self._unit_timeout is None:
            return None
        begun = [worker.since for worker in self._workers if worker.in_hand]
        return max(0.0, min(begun) + self._unit_timeout - time.monotonic()) if begun else None

    def _hangs(self, worker: Worker) -> bool:
        if self._unit_timeout is None or worker.in_hand is None:
            return False
        return time.monotonic() - worker.since >= self._unit_timeout

    def _hear(self, worker: Worker) -> Iterator[UnitResult]:
        try:
            message = worker.receive()
        except WorkerDied:
            self._replace(worker)
            return
        match message.kind:
            case "ready":
                worker.is_ready = True
            case "started":
                worker.in_hand, worker.since = message.content, time.monotonic()
            case "result":
                worker.in_hand = None
                worker.job = worker.job and worker.job.without(message.content.unit_key)
                self._idle_deaths = 0
                yield message.content
            case "done":
                worker.job = None
            case "refused":
                raise BenchmarkError(message.content)
            case "broken":
                raise RuntimeError(f"a worker process failed:\n{message.content}")

    def _replace(self, worker: Worker) -> None:
        """Bury a worker and put what it had left in front of the queue; a unit that killed two is lost."""
        self._workers.remove(worker)
        ending = worker.end()
        if worker.in_hand is None:
            self._idle_deaths += 1
            if self._idle_deaths >= max(MAX_IDLE_DEATHS, self._crew.size):
                raise BenchmarkError(
                    f"worker processes keep dying before their first unit ({ending}); "
                    "is there enough memory for one encoder per worker? Try fewer with --workers"
                )
        else:
            self._deaths[worker.in_hand] += 1
        if worker.job is not None:
            lost = frozenset(key for key, n in self._deaths.items() if n >= MAX_TRIES)
            self._queue.extendleft(Job((group,), lost) for group in reversed(worker.job.groups))


class ProcessCrew(Crew):
    """Workers in processes of this machine, one pipe to each."""

    def __init__(self, source: EncoderSource, size: int) -> None:
        self.size = size
        self._source = source
        self._context = multiprocessing.get_context("spawn")

    def hire(self) -> Worker:
        """Start a process; its first message says that it is ready."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._source))
        process.start()
        theirs.close()  # so that the pipe ends with the worker
        return _ProcessWorker(process=process, connection=ours)

    def wait(self, workers: Sequence[Worker], seconds: float | None) -> list[Worker]:
        """Wait until a pipe can be read or has ended."""
        readable = wait([worker.connection for worker in workers if isinstance(worker, _ProcessWorker)], seconds)
        return [worker for worker in workers if isinstance(worker, _ProcessWorker) and worker.connection in readable]


@dataclass(slots=True, eq=False, kw_only=True)
class _ProcessWorker(Worker):
    process: SpawnProcess
    connection: Connection

    def send(self, job: Job) -> None:
        try:
            self.connection.send(job)
        except OSError as error:
            raise WorkerDied from error

    def receive(self) -> Message:
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied from error

    def end(self) -> str:
        self.connection.close()
        self.process.kill()
        self.process.join()
        return f"exit code {self.process.exitcode}"


def _serve(connection: Connection, source: EncoderSource) -> None:
    """Work through jobs until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sys.stdout = sys.stderr  # what a method prints must not mix with results
    bench = Bench(source)
    try:
        connection.send(bench.load())
        while True:
            for message in bench.work(connection.recv()):
                connection.send(message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # a result that cannot be pickled
        connection.send(_trouble(error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
