"""``benchmark score``: maps made elsewhere, without a plug-in."""

import shlex
import sys
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.score import score_file, write_template
from benchmark.tasks.base import TIERS


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--task", "-t", required=True, help="One task.")
@click.option("--model", default="embedded", show_default=True, help="The encoder that the maps explain.")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--name", help="Stored as the method external:NAME.  [default: the file's name]")
@click.option("--limit", type=click.IntRange(min=1), help="Samples of the task that the file should have.")
@click.option("--tier", type=click.Choice(list(TIERS)), help="The same by name.  [default: lite]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--no-store", is_flag=True, help="Print the scores and keep nothing.")
@click.option("--template", is_flag=True, help="Write FILE: sample ids, texts, tokens and images as the encoder sees them.")
@store_option
@json_option
def score(
    file: Path,
    task: str,
    model: str,
    revision: str | None,
    name: str | None,
    limit: int | None,
    tier: str | None,
    device: str,
    data_dir: Path | None,
    no_store: bool,
    template: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Score the maps of an .npz FILE: arrays image/<sample id>, text/<id>, cross/<id>.

    An image map is on the encoder's patch grid, or on the pixels of its input frame, which are averaged over each patch.
    """
    if limit is not None and tier is not None:
        raise click.UsageError("--limit and --tier both say how many samples; give one of them")
    catalogue.register()
    chosen = catalogue.TASKS[task]
    source = EncoderSource(name=model, device=device, revision=revision)
    tier = tier or "lite"
    if template:
        if file.exists():
            raise click.UsageError(f"{file} is there already; --template writes a new file")
        n = write_template(file, chosen, source, limit=limit, tier=tier, data_dir=data_dir)
        note(f"{file}: {n} samples of {task}; add image/<sample id> (and text/, cross/) and score it")
        return
    command = f"benchmark {shlex.join(sys.argv[1:])}"
    outcome = score_file(
        file,
        chosen,
        source,
        name=name,
        store=None if no_store else store,
        limit=limit,
        tier=tier,
        data_dir=data_dir,
        command=command,
    )
    print_table(outcome.table(chosen), as_json, None if as_json else SHOWN)
    if outcome.missing:
        some = ", ".join(outcome.missing[:3]) + (", ..." if len(outcome.missing) > 3 else "")
        note(f"incomplete, so not ranked: {len(outcome.missing)} of {outcome.n_samples} samples have no map ({some})")
    if outcome.stored:
        note(f"stored as {outcome.label}; `benchmark leaderboard --task {task}` shows it beside the others")
    if outcome.n_failed:
        note(f"{outcome.n_failed} maps failed and count as chance")
        raise click.exceptions.Exit(1)


SHOWN = ("metric", "better", "mean", "chance", "n", "n_missing", "n_failed", "n_degenerate", "n_excluded")
