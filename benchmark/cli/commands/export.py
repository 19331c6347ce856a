"""``benchmark export FOLDER``: a store as Parquet, for shared and object storage."""

from pathlib import Path

import click

from benchmark.cli.base import json_option, print_table, store_option
from benchmark.store.parquet import export


@click.command("export")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--name", help="Name of this store's part of the folder.  [default: the store's file name]")
@store_option
@json_option
def export_command(folder: str, name: str | None, store: Path, as_json: bool) -> None:
    """Write the store as Parquet into FOLDER, where several stores have a part each; docs/scale.md shows how to query them.

    FOLDER may be an address that DuckDB writes to (s3://bucket/board). Writing the same part again replaces it.
    """
    counts = export(store, folder, name)
    print_table([{"table": table, "rows": n} for table, n in counts.items()], as_json)
