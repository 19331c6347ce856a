"""``benchmark merge STORE...``: the stores of several machines into one."""

import dataclasses
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.store.merge import merge

SHOWN = 20


@click.command("merge")
@click.argument("sources", metavar="STORE...", nargs=-1, required=True, type=click.Path())
@store_option
@json_option
def merge_command(sources: tuple[str, ...], store: Path, as_json: bool) -> None:
    """Add the rows of other stores to the one that --store names; a folder is all stores that were exported into it.

    Merging twice or in another order gives the same store. Where two stores contradict each other, the contradiction is
    named and the command exits with 1; what stays does not depend on the order.
    """
    found = merge(store, sources)
    rows = [dataclasses.asdict(item) | {"conflicts": item.conflicts if as_json else len(item.conflicts)} for item in found]
    print_table(rows, as_json)
    conflicts = [conflict for item in found for conflict in item.conflicts]
    for conflict in conflicts[:SHOWN]:
        note(conflict)
    if len(conflicts) > SHOWN:
        note(f"and {len(conflicts) - SHOWN} more; --json names all")
    if conflicts:
        raise click.exceptions.Exit(1)
