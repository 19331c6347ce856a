"""The loop over a plan: explain, score, store, resume."""

import contextlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import InvalidInput
from benchmark.records import UnitResult
from benchmark.runner.encoders import EncoderSource, available_cores, is_on_cpu, use_one_thread
from benchmark.runner.environment import describe_run
from benchmark.runner.execute import run_groups
from benchmark.runner.interrupts import Interrupts
from benchmark.runner.plan import Known, Plan, Request, Samples, make_plan, with_stored
from benchmark.runner.progress import Progress
from benchmark.runner.ray_workers import Cluster
from benchmark.runner.workers import Crew, ProcessCrew, WorkerPool
from benchmark.sandbox.explainer import Sandboxed, close_children
from benchmark.store import StoreWriter

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


AT_ONCE = 16
"""Samples side by side on a GPU. A choice, not a measurement."""


@dataclass(slots=True)
class Summary:
    """What a run came to. ``n_failed`` counts failures among everything asked for, those of earlier runs included.

    ``problems`` holds, by data set, a sentence for every entry of its files that was left out or mended.
    """

    n_units: int = 0
    n_stored: int = 0
    n_done: int = 0
    n_failed: int = 0
    interrupted: bool = False
    encoders: tuple[str, ...] = ()
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One encoder's part of a run."""

    source: EncoderSource
    plan: Plan
    on_cpu: bool
    encoder: "DualEncoder | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labour:
    """Who does the work: ``workers`` processes of this machine, or actors of a ``cluster``; ``None`` is as many as fit.

    A worker that takes longer than ``unit_timeout`` seconds for one unit is killed, and the unit tried once more. Each takes
    ``at_once`` samples side by side; ``None`` is one on a CPU, where rows are then the same to the last bit whoever does the
    work, and ``AT_ONCE`` on a GPU, which a single pair does not fill.
    """

    workers: int | None = None
    unit_timeout: float | None = None
    cluster: Cluster | None = None
    at_once: int | None = None

    def side_by_side(self, on_cpu: bool) -> int:
        """Return how many samples are taken at once."""
        return self.at_once or (1 if on_cpu else AT_ONCE)

    def crew(self, source: EncoderSource, on_cpu: bool, n_groups: int) -> Crew | None:
        """Return where workers come from; ``None`` when this process does the work itself."""
        if self.cluster is not None:
            return self.cluster.crew(source, self.workers)
        n_workers = min(self.workers or (available_cores() if on_cpu else 1), n_groups)
        return ProcessCrew(source, max(n_workers, 1)) if n_workers > 1 or self.unit_timeout is not None else None


def run(
    request: Request,
    sources: Sequence[EncoderSource],
    store: Path,
    *,
    workers: int | None = None,
    unit_timeout: float | None = None,
    cluster: Cluster | None = None,
    at_once: int | None = None,
    retry_failed: bool = False,
    command: str = "",
    progress: Callable[[str, int], Progress] = Progress,
) -> Summary:
    """Do what is missing in ``store`` of what is asked; every finished unit is safe at once.

    Encoders and data are loaded before the store is touched, so that a wrong name costs nothing. On Ctrl-C what is
    finished is published and the summary says ``interrupted``. ``workers``, ``unit_timeout``, ``cluster`` and
    ``at_once`` are those of ``Labour``; none of them changes a row, but for the rounding of methods that share passes.
    """
    labour = Labour(workers=workers, unit_timeout=unit_timeout, cluster=cluster, at_once=at_once)
    samples = Samples(request)
    loaded = [(source, source.load()) for source in sources]
    with Interrupts() as interrupts, StoreWriter(store) as writer:
        jobs = [
            _job(request, source, encoder, _known(writer, encoder, retry_failed), samples, labour) for source, encoder in loaded
        ]
        if len(jobs) > 1 or cluster is not None:  # one encoder in memory at a time
            jobs = [replace(job, encoder=None) for job in jobs]
        loaded.clear()
        summary = Summary(encoders=tuple(job.plan.encoder for job in jobs), problems=samples.problems)
        for job in jobs:
            summary.n_units += job.plan.n_units
            summary.n_stored += job.plan.n_units - job.plan.n_missing
            summary.n_failed += job.plan.n_failed_before
        if not summary.n_units and request.shard is None:
            raise InvalidInput("there is nothing to run: methods that read the truth run only on tasks that have one")
        if summary.n_units and summary.n_stored == summary.n_units:
            return summary  # a shard without samples leaves a store behind all the same, for the merge
        device = ", ".join(dict.fromkeys("cpu" if job.on_cpu else "cuda" for job in jobs))
        writer.begin(describe_run(command, device, request.seeds))
        try:
            for job in jobs:
                bar = progress(job.plan.encoder, job.plan.n_missing)
                with contextlib.closing(_results(job, labour, writer)) as results:
                    for result in results:
                        with interrupts.shielded():
                            writer.add(result)
                            summary.n_done += 1
                            summary.n_failed += result.failed
                            bar.count(result)
                bar.close()
        except KeyboardInterrupt:
            summary.interrupted = True
        finally:
            close_children()
        interrupts.hold_off()
        writer.end("interrupted" if summary.interrupted else "done")
    return summary


def _known(writer: StoreWriter, encoder: "DualEncoder", retry_failed: bool) -> Known:
    return Known(*writer.known_status(encoder.name, encoder.revision or ""), retry_failed)


def _job(
    request: Request, source: EncoderSource, encoder: "DualEncoder", known: Known, samples: Samples, labour: Labour
) -> _Job:
    methods = [item.for_source(source) if isinstance(item, Sandboxed) else item for item in request.methods]
    plan = make_plan(replace(request, methods=methods), encoder, known, samples)
    on_cpu = is_on_cpu(encoder) if labour.cluster is None else not labour.cluster.on_gpu(source)
    return _Job(source=source, plan=plan, on_cpu=on_cpu, encoder=encoder)


def _results(job: _Job, labour: Labour, writer: StoreWriter) -> Generator[UnitResult]:
    """Yield the results of a job, worked out here or by workers."""
    groups, at_once = job.plan.groups, labour.side_by_side(job.on_cpu)
    crew = labour.crew(job.source, job.on_cpu, len(groups))
    if crew is not None:
        pool = WorkerPool(crew, lambda group: with_stored(group, writer.explanation), labour.unit_timeout, at_once)
        with contextlib.closing(pool.run(groups)) as results:
            yield from results
        return
    if not groups:
        return
    encoder = job.encoder or job.source.load()
    if job.on_cpu:
        use_one_thread()
    results = run_groups(encoder, (with_stored(group, writer.explanation) for group in groups), at_once)
    while True:
        with contextlib.redirect_stdout(sys.stderr):  # what a method prints must not mix with results
            result = next(results, None)
        if result is None:
            break
        yield result
