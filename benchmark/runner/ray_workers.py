"""Workers as Ray actors, on this machine or a cluster: each holds one encoder, and a GPU where the cluster has any.

The driver plans, hands out groups and writes, as in a local run; only where a worker lives differs. Needs the extra ``scale``.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.runner.encoders import EncoderSource, available_cores
from benchmark.runner.workers import Bench, Crew, Job, Message, Worker, WorkerDied

OBJECT_STORE_BYTES = 256 * 2**20
"""Of a Ray that is started here. What is on its way is one group and one result per worker."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to, as it was then."""

    ray: Any
    n_gpus: int
    n_cpus: int

    def crew(self, source: EncoderSource, workers: int | None = None) -> "RayCrew":
        """Return at most as many workers as there are GPUs, or else cores."""
        on_gpu = self.on_gpu(source)
        n_places = self.n_gpus if on_gpu else self.n_cpus
        return RayCrew(self.ray, source, min(workers or n_places, n_places), on_gpu)

    def on_gpu(self, source: EncoderSource) -> bool:
        """Whether an encoder gets a GPU of its own."""
        return self.n_gpus > 0 and source.device != "cpu"


@contextmanager
def connected(address: str | None = None, workers: int | None = None) -> Generator[Cluster]:
    """Connect to the Ray at ``address``, or start one on this machine, for a while; one that is connected already is used.

    Raises ``BenchmarkError`` when Ray is not installed, nobody answers, or the cluster has nothing to work with.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise BenchmarkError("--executor ray needs Ray: pip install 'xlip-bench[scale]'") from error
    with ExitStack() as leaving:
        leaving.enter_context(redirect_stdout(leaving.enter_context(Path(os.devnull).open("w"))))  # Ray writes of every death
        if not ray.is_initialized():
            _start(ray, address, workers)
            leaving.callback(ray.shutdown)
        resources = ray.cluster_resources()
        cluster = Cluster(ray, int(resources.get("GPU", 0)), int(resources.get("CPU", 0)))
        if not cluster.n_gpus and not cluster.n_cpus:
            raise BenchmarkError(f"the Ray cluster has neither GPUs nor cores to work with; it has: {dict(resources)}")
        yield cluster


def _start(ray: Any, address: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    if address is None:
        cores = max(available_cores(), workers or 1)
        options |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
        options |= {"object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises bare ones when it cannot start
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BenchmarkError(f"Ray does not answer at {address or 'this machine'}: {reason}") from error


class RayCrew(Crew):
    """Actors of one cluster; Ray finds each a place and waits where there is none yet."""

    def __init__(self, ray: Any, source: EncoderSource, size: int, on_gpu: bool) -> None:
        self.size = size
        self._ray = ray
        self._source = source
        needs = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **needs)(_Actor)

    def hire(self) -> Worker:
        """Start an actor; its first message says that it is ready."""
        actor = self._actor.remote(self._source)
        return _RayWorker(ray=self._ray, actor=actor, answer=actor.load.remote())

    def wait(self, workers: Sequence[Worker], seconds: float | None) -> list[Worker]:
        """Wait until an actor has answered or is gone."""
        asked = {worker.answer: worker for worker in workers if isinstance(worker, _RayWorker)}
        answers = list(asked)
        if not self._ray.wait(answers, num_returns=1, timeout=seconds)[0]:
            return []
        ready = self._ray.wait(answers, num_returns=len(answers), timeout=0)[0]
        return [asked[answer] for answer in ready]


@dataclass(slots=True, eq=False, kw_only=True)
class _RayWorker(Worker):
    """One actor. ``answer`` stands for its next message; there is never more than one under way."""

    ray: Any
    actor: Any
    answer: Any
    ending: str = "its end is not known"

    def send(self, job: Job) -> None:
        self.answer = self.actor.take.remote(job)

    def receive(self) -> Message:
        try:
            message: Message = self.ray.get(self.answer)
        except self.ray.exceptions.RayTaskError as error:
            return Message("broken", str(error))
        except self.ray.exceptions.RayError as error:  # killed, out of memory, or its machine is gone
            self.ending = str(error).splitlines()[0]
            raise WorkerDied from error
        if message.kind in ("started", "result"):
            self.answer = self.actor.step.remote()
        return message

    def end(self) -> str:
        self.ray.kill(self.actor)
        return self.ending


class _Actor:
    """The working side: one call, one message, so that the driver always knows which unit is in hand."""

    def __init__(self, source: EncoderSource) -> None:
        self._bench = Bench(source)
        self._messages: Iterator[Message] = iter(())

    def load(self) -> Message:
        return self._bench.load()

    def take(self, job: Job) -> Message:
        self._messages = self._bench.work(job)
        return next(self._messages)

    def step(self) -> Message:
        return next(self._messages)
