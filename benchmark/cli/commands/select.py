"""``benchmark select``: freeze a list of samples."""

from pathlib import Path
from typing import get_args

import click

from benchmark.cli.base import note
from benchmark.data.base import DATASETS
from benchmark.runner.catalogue import register
from benchmark.runner.encoders import EncoderSource
from benchmark.tasks.selection import By
from benchmark.tasks.selection import select as choose

SHOW_EVERY = 200


@click.command()
@click.option("--data", required=True, help="A data set: coco.")
@click.option("--view", default="captions", show_default=True, help="The view of it to choose from.")
@click.option("--model", required=True, help="The encoder whose similarity decides.")
@click.option("--by", type=click.Choice(get_args(By)), default="deciles", show_default=True, help="How to choose.")
@click.option("--n", type=click.IntRange(min=1), default=1000, show_default=True, help="Samples to choose.")
@click.option("--candidates", type=click.IntRange(min=1), help="Choose among the first of the view.  [default: all]")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The list to write (CSV).")
def select(
    data: str,
    view: str,
    model: str,
    by: By,
    n: int,
    candidates: int | None,
    revision: str | None,
    device: str,
    data_dir: Path | None,
    out: Path,
) -> None:
    """Choose samples by a model's similarity and freeze the list.

    A task on the view "captions:deciles" reads selections/captions-deciles.csv in its data folder.
    """
    register()
    if out.exists():
        raise click.UsageError(f"{out} is there already; a list that results rest on is not replaced")
    chosen = DATASETS[data](data_dir)
    encoder = EncoderSource(name=model, device=device, revision=revision).load()
    found = choose(chosen, view, encoder, by=by, n=n, candidates=candidates, seen=_show)
    found.write(out)
    counts = [sum(choice.decile == decile for choice in found.choices) for decile in range(10)]
    note(f"{out}: {len(found.choices)} of {found.candidates} samples, by decile {counts}; SHA-256 {found.digest}")


def _show(n: int) -> None:
    if n % SHOW_EVERY == 0:
        note(f"{n} candidates")
