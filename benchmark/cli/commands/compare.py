"""``benchmark compare A B``: is one of two methods better, and where."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.ranking import Comparison, Selection, compare
from benchmark.runner.catalogue import split
from benchmark.store import open_store


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--model", multiple=True, help="Encoders or patterns, with commas. [default: all]")
@click.option("--metric", multiple=True, help="Metrics or patterns, with commas. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), help="Use the first samples of every task only.")
@click.option("--details", is_flag=True, help="Also the slices where each wins and the samples of largest difference.")
@store_option
@json_option
def compare_command(
    first: str,
    second: str,
    task: tuple[str, ...],
    model: tuple[str, ...],
    metric: tuple[str, ...],
    limit: int | None,
    details: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Compare methods A and B, by their labels, on the samples that both have.

    The difference is A less B with its 95 % interval. The p values are of a sign-flip permutation test over images, and
    Holm-corrected for all rows printed.
    """
    selection = Selection(tasks=split(task) or None, models=split(model) or None, metrics=split(metric) or None, limit=limit)
    with open_store(store) as connection:
        found = compare(connection, first, second, selection)
    if not found:
        note(f"{first} and {second} share no samples in this selection; `benchmark leaderboard` shows what each has")
    if as_json:
        print_table([dataclasses.asdict(item) for item in found], True)
        return
    print_table([_line(item) for item in found], False)
    if details:
        _print_details(found)


def _line(item: Comparison) -> dict[str, object]:
    return {
        "task": item.task,
        "metric": item.metric,
        "model": item.model,
        "n": item.n,
        item.first: f"{item.mean_first:.3f}",
        item.second: f"{item.mean_second:.3f}",
        "A - B": f"{item.difference:+.3f} [{item.low:+.3f}, {item.high:+.3f}]",
        "p (Holm)": f"{item.p_holm:.2g}",
        "effect": None if item.effect_size is None else round(item.effect_size, 2),
        "P(A better)": round(item.wins, 2),
        "better": item.winner or "not told apart",
    }


def _print_details(found: Sequence[Comparison]) -> None:
    for item in found:
        click.echo(f"\n{item.task} · {item.metric} ({item.better} is better) · {item.model}")
        for part in item.slices:
            click.echo(f"  {part.stratum}: {part.difference:+.3f}, {item.first} better on {part.wins:.0%} of {part.n}")
        for sample in item.contrasts:
            click.echo(f"  {sample.difference:+.3f}  {sample.sample}  {sample.text}")
