"""``benchmark tracks``: mean ranks over the boards of each track."""

import dataclasses
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.errors import InvalidInput
from benchmark.ranking import Selection, leaderboard
from benchmark.ranking.tracks import TrackTable, track_tables
from benchmark.runner.catalogue import TASKS, register, split
from benchmark.store import open_store


@click.command("tracks")
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--model", multiple=True, help="Encoders or patterns, with commas. [default: all]")
@click.option("--method", "-m", multiple=True, help="Only these methods, by their label. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), help="Use the first samples of every task only.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Draw a diagram for each track in this folder.")
@store_option
@json_option
def tracks_command(
    task: tuple[str, ...],
    model: tuple[str, ...],
    method: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Rank methods over several tasks and models, each track apart, by the first metric of every task.

    Friedman's test says whether the methods differ at all, Nemenyi's critical difference which of them do. Methods that are
    missing on some board are named and not ranked.
    """
    register()
    headlines = {name: item.protocol.metrics[0] for name, item in TASKS.items()}
    selection = Selection(
        tasks=split(task) or None,
        models=split(model) or None,
        metrics=sorted(set(headlines.values())),
        methods=split(method) or None,
        limit=limit,
    )
    with open_store(store) as connection:
        tables = track_tables(leaderboard(connection, selection), headlines)
    if not tables:
        raise InvalidInput(f"no board in {store} is of this selection; `benchmark leaderboard` shows what there is")
    if as_json:
        print_table([dataclasses.asdict(table) for table in tables], True)
    else:
        for table in tables:
            _print(table)
    if out is not None:
        from benchmark.ranking.diagram import draw_track

        out.mkdir(parents=True, exist_ok=True)
        for table in tables:
            draw_track(table).savefig(out / f"{table.track.replace(' ', '_')}.svg")
        note(f"{len(tables)} diagrams in {out}")


def _print(table: TrackTable) -> None:
    p = "" if table.p is None else f", Friedman p = {table.p:.2g}"
    difference = "" if table.critical_difference is None else f", critical difference {table.critical_difference:.2f}"
    click.echo(f"{table.track}: {len(table.blocks)} blocks{p}{difference}")
    print_table([dataclasses.asdict(place) for place in table.places], False)
    if table.partial:
        click.echo(f"not on every board: {', '.join(table.partial)}")
    click.echo()
