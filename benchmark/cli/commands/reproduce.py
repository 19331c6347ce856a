"""``benchmark reproduce``: published tables beside what a store measured."""

from dataclasses import asdict
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.reproduce import EXPERIMENTS, Cell, compare
from benchmark.reproduce.comparison import targets_of
from benchmark.runner.catalogue import register


@click.command()
@click.argument("experiment", required=False)
@click.option("--list", "as_list", is_flag=True, help="List the experiments.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data, to see whether it is there.")
@click.option("--golden", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of recorded outputs.")
@store_option
@json_option
def reproduce(
    experiment: str | None, as_list: bool, data_dir: Path | None, golden: Path | None, store: Path, as_json: bool
) -> None:
    """Compare published numbers with those of the store; all experiments, or one by its id.

    Nothing is run but the identities and, with --golden, recorded outputs. What was not measured says why and with which
    command it would be. Exits with 1 if a number that must be met is not.
    """
    register()
    chosen = [EXPERIMENTS[experiment]] if experiment else list(EXPERIMENTS.values())
    if as_list:
        listed = [
            {
                "id": item.id,
                "paper": item.paper,
                "model": item.model,
                "tasks": list(item.tasks),
                "targets": len(targets_of(item)),
                "tolerance": item.tolerance,
                "needs": item.needs,
                "what": item.what,
            }
            for item in chosen
        ]
        print_table(listed, as_json, ("id", "paper", "model", "targets", "tolerance", "needs"))
        return
    cells = [cell for item in chosen for cell in compare(item, store, data_dir, golden)]
    print_table([asdict(cell) for cell in cells], as_json, SHOWN)
    for item in chosen:
        why = [cell.why for cell in cells if cell.experiment == item.id and cell.why]
        if why:
            note(f"{item.id}: not run, since {why[0]}")
    note(_closing(cells))
    if any(cell.verdict == "outside" and cell.gates for cell in cells):
        raise click.exceptions.Exit(1)


def _closing(cells: list[Cell]) -> str:
    counts = {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in ("within", "outside", "not run")}
    return (
        f"{len(cells)} published numbers: {counts['within']} within tolerance, {counts['outside']} outside, "
        f"{counts['not run']} not run. Targets are published numbers, never results of this suite"
    )


SHOWN = ("experiment", "dataset", "method", "metric", "measured", "standard_error", "n", "target", "provenance", "verdict")
