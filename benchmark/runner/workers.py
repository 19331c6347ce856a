"""Worker processes: each loads the encoder once, explains and scores; none of them writes. One that dies is replaced."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.records import UnitResult
from benchmark.runner.encoders import EncoderSource, use_one_thread
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Group, Unit

MAX_TRIES = 2
MAX_IDLE_DEATHS = 3


@dataclass(frozen=True, slots=True)
class _Job:
    """A sample's units for one worker; those in ``lost`` are only to be written down as failed."""

    group: Group
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Message:
    """What a worker tells: a unit begins, a unit's result, the job is done, or it cannot work at all."""

    kind: Literal["started", "result", "done", "refused", "broken"]
    content: Any = None


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: _Job | None = None
    in_hand: str | None = None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


class WorkerPool:
    """Runs groups in ``n_workers`` processes and yields results in the order in which they are finished."""

    def __init__(self, source: EncoderSource, n_workers: int, one_thread: bool, prepare: Callable[[Group], Group]) -> None:
        self._source = source
        self._n_workers = n_workers
        self._one_thread = one_thread
        self._prepare = prepare
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: deque[_Job] = deque()
        self._deaths: Counter[str] = Counter()
        self._idle_deaths = 0

    def run(self, groups: Sequence[Group]) -> Generator[UnitResult]:
        """Yield every unit's result exactly once; leaving the iteration ends all workers."""
        self._queue = deque(_Job(group) for group in groups)
        try:
            while self._queue or any(worker.job for worker in self._workers):
                self._hand_out()
                busy = {worker.connection: worker for worker in self._workers if worker.job}
                for connection in wait(list(busy)):
                    yield from self._hear(busy[connection])  # pyright: ignore[reportArgumentType]  # wait returns what it was given
        finally:
            for worker in self._workers:
                worker.end()

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.job is None]
        while self._queue and (idle or len(self._workers) < self._n_workers):
            worker = idle.pop() if idle else self._hire()
            job = self._queue.popleft()
            worker.job, worker.in_hand = job, None
            prepared = _Job(self._prepare(job.group), job.lost)
            try:
                worker.connection.send(prepared)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise BenchmarkError(f"this cannot be sent to a worker process ({error}); use --workers 1") from error
            except OSError:  # it died while idle
                self._replace(worker)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._source, self._one_thread))
        process.start()
        theirs.close()  # so that the pipe ends with the worker
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> Iterator[UnitResult]:
        try:
            message: _Message = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        match message.kind:
            case "started":
                worker.in_hand = message.content
            case "result":
                worker.in_hand = None
                worker.job = worker.job and _without(worker.job, message.content.unit_key)
                self._idle_deaths = 0
                yield message.content
            case "done":
                worker.job = None
            case "refused":
                raise BenchmarkError(message.content)
            case "broken":
                raise RuntimeError(f"a worker process failed:\n{message.content}")

    def _replace(self, worker: _Worker) -> None:
        """Bury a worker and put what it had left in front of the queue; a unit that killed two is lost."""
        self._workers.remove(worker)
        worker.end()
        if worker.in_hand is None:
            self._idle_deaths += 1
            if self._idle_deaths >= MAX_IDLE_DEATHS:
                raise BenchmarkError(
                    f"worker processes keep dying before their first unit (exit code {worker.process.exitcode}); "
                    "is there enough memory for one encoder per worker? Try fewer with --workers"
                )
        else:
            self._deaths[worker.in_hand] += 1
        if worker.job is not None and worker.job.group.units:
            lost = frozenset(key for key, n in self._deaths.items() if n >= MAX_TRIES)
            self._queue.appendleft(_Job(worker.job.group, lost))


def _without(job: _Job, key: str) -> _Job:
    rest: tuple[Unit, ...] = tuple(unit for unit in job.group.units if unit.key != key)
    group = Group(record=job.group.record, views=job.group.views, units=rest)
    return _Job(group, job.lost)


def _serve(connection: Connection, source: EncoderSource, one_thread: bool) -> None:
    """Work through jobs until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sys.stdout = sys.stderr  # what a method prints must not mix with results
    try:
        encoder = source.load()
        if one_thread:
            use_one_thread()
        while True:
            job: _Job = connection.recv()
            for result in run_group(encoder, job.group, lambda key: connection.send(_Message("started", key)), job.lost):
                connection.send(_Message("result", result))
            connection.send(_Message("done"))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except BenchmarkError as error:
        connection.send(_Message("refused", str(error)))
    except BaseException:
        connection.send(_Message("broken", traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
