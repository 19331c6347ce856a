"""``benchmark leaderboard``: stored scores as ranked tables."""

from pathlib import Path
from typing import cast, get_args

import click

from benchmark.cli.base import json_option, note, store_option
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.ranking import Format, Selection, render
from benchmark.ranking import leaderboard as rank
from benchmark.ranking.tables import to_parquet
from benchmark.runner.catalogue import split
from benchmark.store import open_store


@click.command()
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--model", multiple=True, help="Encoders or patterns, with commas. [default: all]")
@click.option("--metric", multiple=True, help="Metrics or patterns, with commas. [default: all]")
@click.option("--method", "-m", multiple=True, help="Rank only these methods, by their label. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), help="Rank on the first samples of every task only.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here; a .parquet file gets every field.")
@store_option
@json_option
def leaderboard(
    task: tuple[str, ...],
    model: tuple[str, ...],
    metric: tuple[str, ...],
    method: tuple[str, ...],
    limit: int | None,
    form: str,
    out: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Print ranks with 95 % intervals, one table per task, model and metric.

    Only methods scored on every sample of a table are ranked; others are listed with how many they have.
    """
    selection = Selection(
        tasks=split(task) or None,
        models=split(model) or None,
        metrics=split(metric) or None,
        methods=split(method) or None,
        limit=limit,
    )
    with open_store(store) as connection:
        rows = rank(connection, selection)
        if not rows:
            for kind, column, asked in (("task", "task", task), ("model", "encoder", model), ("metric", "metric", metric)):
                known = [name for (name,) in connection.execute(f"SELECT DISTINCT {column} FROM scores").fetchall()]
                for name in split(asked):
                    if name not in known and not any(sign in name for sign in "*?"):
                        raise UnknownName(f"{kind} with scores in {store}", name, known)
            if any((task, model, metric, method)):
                raise BenchmarkError(f"no score in {store} is of this selection; `benchmark list runs` shows what was run")
            note(f"{store} holds no scores yet")
    if out is not None and out.suffix == ".parquet":
        to_parquet(rows, out)
    elif out is not None:
        out.write_text(render(rows, "json" if as_json else cast(Format, form)) + "\n", encoding="utf-8")
    else:
        click.echo(render(rows, "json" if as_json else cast(Format, form)))
