"""``benchmark rescore``: today's metrics on stored explanations."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.runner import catalogue
from benchmark.runner.rescore import Wanted
from benchmark.runner.rescore import rescore as rescore_store


@click.command()
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all that have scores]")
@click.option("--method", "-m", multiple=True, help="Methods by their label, with commas. [default: all]")
@click.option("--metric", multiple=True, help="Metrics, with commas. [default: all of a task]")
@click.option("--model", multiple=True, help="Encoders, with commas; a folder by its path. [default: all]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; worth it for games.")
@store_option
@json_option
def rescore(
    task: tuple[str, ...],
    method: tuple[str, ...],
    metric: tuple[str, ...],
    model: tuple[str, ...],
    data_dir: Path | None,
    workers: int,
    store: Path,
    as_json: bool,
) -> None:
    """Score stored explanations again; no method runs.

    Scores whose value changed are replaced, missing ones (of a new metric, of a task named with --task) are added. All of it
    is written at once at the end, or nothing.
    """
    catalogue.register()
    wanted = Wanted(
        tasks=catalogue.tasks(",".join(task)) if task else None,
        methods=catalogue.split(method) or None,
        metrics=catalogue.split(metric) or None,
        models=catalogue.split(model) or None,
        data_dir=data_dir,
    )
    tallies = rescore_store(store, wanted, workers=workers, command=f"benchmark {shlex.join(sys.argv[1:])}")
    print_table([asdict(tally) for tally in tallies], as_json, SHOWN)
    for tally in tallies:
        if tally.reason:
            note(f"{tally.task} on {tally.model} is left as it was: {tally.reason}")
    same, changed, added, left = (sum(getattr(tally, name) for tally in tallies) for name in SHOWN[2:6])
    note(f"{same} scores are the same, {changed} changed, {added} added; store: {store}")
    if left:
        note(f"{left} scores need an explanation that was never made: repeat `benchmark run`")


SHOWN = ("task", "model", "same", "changed", "added", "left", "largest_change", "largest_metric")
