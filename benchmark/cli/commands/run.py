"""``benchmark run``: explain, score, store, rank."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark.cli.base import INTERRUPTED, json_option, note, print_table, store_option
from benchmark.data.base import DATASETS
from benchmark.errors import InvalidInput
from benchmark.ranking import Row, Selection, leaderboard, render
from benchmark.ranking.tables import number
from benchmark.runner import catalogue, ray_workers
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.estimate import estimate
from benchmark.runner.plan import Request
from benchmark.runner.progress import duration
from benchmark.runner.run import Summary
from benchmark.runner.run import run as run_request
from benchmark.runner.shards import Shard
from benchmark.store import open_store
from benchmark.tasks.base import TIERS


def read_seeds(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(item) for item in catalogue.split(value)))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a whole number, nor several with commas between") from None


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> Shard | None:
    return None if value is None else Shard.parse(value)


@click.command()
@click.option("--method", "-m", multiple=True, help="Methods, with commas: fixlip,rise[n_masks=500]. [default: all]")
@click.option(
    "--task", "-t", multiple=True, help="Tasks or patterns: 'scenes-*'. [default: the standard ones on generated data]"
)
@click.option("--model", multiple=True, default=("embedded",), show_default=True, help="Encoders, with commas.")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--limit", type=click.IntRange(min=1), help="Samples per task.")
@click.option("--tier", type=click.Choice(list(TIERS)), help="Samples per task by name.  [default: lite]")
@click.option("--seed", "seeds", default="0", show_default=True, callback=read_seeds, help="Seeds, with commas.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per core on a CPU, else 1]")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or Ray actors (pip install 'xlip-bench[scale]').",
)
@click.option("--ray-address", metavar="ADDRESS", help="A Ray cluster: auto, HOST:PORT or ray://.  [default: start one here]")
@click.option("--unit-timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds after which a worker hangs.")
@click.option("--shard", metavar="I/N", callback=_shard, help="Only part I of N of the samples; `benchmark merge` joins them.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the games' forward passes; part of every key (docs/speed.md).",
)
@click.option("--at-once", type=click.IntRange(min=1), help="Samples side by side, in shared passes.  [default: CPU 1, GPU 16]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Inputs per forward pass.  [default: by memory]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--retry-failed", is_flag=True, help="Try stored failures again.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and what it would cost.")
@store_option
@json_option
def run(
    method: tuple[str, ...],
    task: tuple[str, ...],
    model: tuple[str, ...],
    revision: str | None,
    limit: int | None,
    tier: str | None,
    seeds: tuple[int, ...],
    device: str,
    workers: int | None,
    executor: str,
    ray_address: str | None,
    unit_timeout: float | None,
    shard: Shard | None,
    precision: str,
    at_once: int | None,
    batch_size: int | None,
    data_dir: Path | None,
    retry_failed: bool,
    dry_run: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Explain and score what is not stored yet, then print the ranked tables.

    Stopped at any moment, even by kill -9, the same command goes on where it was.
    """
    if limit is not None and tier is not None:
        raise click.UsageError("--limit and --tier both say how many samples; give one of them")
    if ray_address is not None and executor != "ray":
        raise click.UsageError("--ray-address is for --executor ray")
    catalogue.register()
    request = Request(
        methods=catalogue.methods(",".join(method) or catalogue.ALL),
        tasks=catalogue.tasks(",".join(task) or ",".join(standard_tasks())),
        limit=limit,
        tier=tier or (None if limit else "lite"),
        seeds=seeds,
        data_dir=data_dir,
        shard=shard,
    )
    names = list(dict.fromkeys(name.strip() for item in model for name in item.split(",") if name.strip()))
    if not names:
        raise InvalidInput("no model was named; `benchmark list models` shows what is known")
    sources = [
        EncoderSource(name=name, device=device, revision=revision, precision=precision, batch_size=batch_size) for name in names
    ]
    if dry_run:
        _print_estimates(request, sources, store, retry_failed, as_json)
        return
    with ray_workers.connected(ray_address, workers) if executor == "ray" else contextlib.nullcontext() as cluster:
        summary = run_request(
            request,
            sources,
            store,
            workers=workers,
            unit_timeout=unit_timeout,
            cluster=cluster,
            at_once=at_once,
            retry_failed=retry_failed,
            command=f"benchmark {shlex.join(sys.argv[1:])}",
        )
    finish(request, summary, store, as_json)


def finish(request: Request, summary: Summary, store: Path, as_json: bool) -> None:
    """Say what a run came to and print its ranks; exit 1 when units failed, 130 after Ctrl-C."""
    for data, problems in summary.problems.items():
        note(f"{data}: {len(problems)} entries of its files are left out or mended; the first: {problems[0]}")
    if summary.interrupted:
        note(f"interrupted after {summary.n_done} units, all of them stored in {store}; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED)
    _print_ranks(request, summary, store, as_json)
    note(_closing(summary, store))
    if summary.n_failed:
        raise click.exceptions.Exit(1)


def standard_tasks() -> list[str]:
    from benchmark.tasks.families import FAMILIES  # which loads torch

    standard = {f"{data}-{family}" for data, kind in DATASETS.items() if kind.synthetic for family in FAMILIES}
    return [name for name in catalogue.TASKS if name in standard]


def _print_estimates(request: Request, sources: Sequence[EncoderSource], store: Path, again: bool, as_json: bool) -> None:
    estimates = estimate(request, sources, store, again)
    if as_json:
        print_table([dataclasses.asdict(row) for row in estimates], True)
        return
    shown = [
        {
            "model": row.model,
            "method": row.method,
            "units": row.units,
            "stored": row.stored,
            "to explain": row.to_explain,
            "probes": row.probes,
            "to score": row.to_score,
            "forwards": number(row.forwards, 0),
            "time": "–" if row.seconds is None else duration(row.seconds),
        }
        for row in estimates
    ]
    print_table(shown, False)
    seconds = sum(row.seconds or 0.0 for row in estimates)
    unknown = ", ".join(dict.fromkeys(row.method for row in estimates if row.seconds is None and row.to_explain))
    left = sum(row.to_explain for row in estimates)
    probes = sum(row.probes for row in estimates)
    beside = f" and {probes} probes of them" if probes else ""
    total = f"{left} units to explain{beside}, about {duration(seconds)} on one process, scoring apart"
    click.echo(f"\n{total}" + (f"; nothing is known yet of {unknown}" if unknown else ""))


def _print_ranks(request: Request, summary: Summary, store: Path, as_json: bool) -> None:
    """Print every task's first metric; JSON has them all."""
    labels = [catalogue.label(explainer) for explainer in request.methods]
    rows: list[Row] = []
    with open_store(store) as connection:
        for task in request.tasks:
            metrics = None if as_json else task.protocol.metrics[:1]
            rows += leaderboard(
                connection,
                Selection(
                    tasks=[task.id], models=summary.encoders, metrics=metrics, methods=labels, limit=request.n_samples(task)
                ),
            )
    click.echo(render(rows, "json" if as_json else "text"))
    others = sum(len(task.protocol.metrics) - 1 for task in request.tasks)
    if others and not as_json:
        note(f"\n{others} more metrics: benchmark leaderboard")


def _closing(summary: Summary, store: Path) -> str:
    parts = [f"{summary.n_units} units: {summary.n_done} done now, {summary.n_stored} stored before"]
    if summary.n_failed:
        means = "a method's failure counts as chance, an unreadable sample is left out; --retry-failed tries again"
        parts.append(f"{summary.n_failed} failed ({means})")
    return f"{', '.join(parts)}; store: {store}"
