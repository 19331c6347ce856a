"""``benchmark sql``: read-only questions to a store."""

import csv
import sys
from pathlib import Path

import click

from benchmark.cli.base import json_option, print_table, store_option
from benchmark.store import query_store


@click.command()
@click.argument("query")
@click.option("--format", "form", type=click.Choice(["text", "csv", "json"]), default="text", show_default=True)
@store_option
@json_option
def sql(query: str, form: str, store: Path, as_json: bool) -> None:
    """Answer a SELECT over the tables runs, samples, explanations, scores and the view results (docs/store.md)."""
    names, found = query_store(store, query)
    rows = [dict(zip(names, row, strict=True)) for row in found]
    if as_json or form == "json":
        print_table(rows, True)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(found)
    elif rows:
        print_table(rows, False)
    else:
        click.echo("  ".join(names))
