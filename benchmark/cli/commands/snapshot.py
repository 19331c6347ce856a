"""``benchmark snapshot``: frozen leaderboards, made and checked."""

import dataclasses
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.base import json_option, note, store_option
from benchmark.ranking import Selection
from benchmark.runner.catalogue import split

if TYPE_CHECKING:
    from benchmark.snapshots.rerun import Rerun

RERUNS = 5


@click.group()
def snapshot() -> None:
    """Freeze leaderboards so that they can be cited, and check frozen ones."""


@snapshot.command("create")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--model", multiple=True, help="Encoders or patterns, with commas. [default: all]")
@click.option("--method", "-m", multiple=True, help="Only these methods, by their label. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), help="Freeze the first samples of every task only.")
@click.option("--note", "text", default="", help="A sentence for the manifest and the README.")
@store_option
def create_command(
    folder: Path,
    task: tuple[str, ...],
    model: tuple[str, ...],
    method: tuple[str, ...],
    limit: int | None,
    text: str,
    store: Path,
) -> None:
    """Freeze what the store's leaderboards show in a new FOLDER, leaderboards/<suite>/<version>.

    Per-sample scores, hashes and costs of explanations, all tables, a manifest and checksums; no image, and no text whose
    licence forbids it. What is published never changes: a folder that is there is refused.
    """
    from benchmark.snapshots.create import create

    selection = Selection(
        tasks=split(task) or None,
        models=split(model) or None,
        methods=split(method) or None,
        limit=limit,
    )
    manifest = create(folder, store, selection, text)
    counts = manifest.counts
    note(
        f"{folder}: {counts.scores} scores of {len(manifest.methods)} methods on {len(manifest.tasks)} tasks, "
        f"{counts.boards} boards"
    )
    if counts.partial:
        note(
            f"unfinished: {counts.partial} of {counts.rows} rows lack samples, so they have no rank; `benchmark run` adds them"
        )
    if manifest.code.dirty or any(run.dirty for run in manifest.runs):
        note("made with changed files: the commit in the manifest is not all of the code")
    note(f"check it with `benchmark snapshot verify {folder}`")


@snapshot.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rerun", type=click.IntRange(min=0), default=RERUNS, show_default=True, help="Units to explain and score anew.")
@click.option("--seed", type=click.IntRange(min=0), help="Which units these are. [default: drawn, and printed]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@json_option
@click.pass_context
def verify_command(ctx: click.Context, path: Path, rerun: int, seed: int | None, data_dir: Path | None, as_json: bool) -> None:
    """Check a snapshot: checksums, every table from the frozen scores byte for byte, and some units from scratch.

    A unit that cannot be made here (its weights or data are missing) is named and counts neither way.
    Exit codes: 0 all good, 1 something differs, 2 no snapshot.
    """
    from benchmark.snapshots.verify import verify

    seed = secrets.randbelow(2**31) if seed is None else seed
    report = verify(path, rerun, seed, data_dir, told=lambda found: None if as_json else click.echo(_line(found)))
    unmade = sum(found.verdict == "not re-run" for found in report.reruns)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report) | {"good": report.good}, indent=1))
    else:
        click.echo(f"{report.n_files} files, {report.rebuilt} tables made again byte for byte")
        for problem in report.problems:
            click.echo(f"DIFFERS  {problem}")
        for remark in report.remarks:
            click.echo(f"note     {remark}")
        if report.reruns:
            agreeing = sum(found.verdict in ("same", "close") for found in report.reruns)
            more = f", {unmade} cannot be made here" if unmade else ""
            click.echo(f"{agreeing} of {len(report.reruns)} units agree when made anew{more} (--seed {seed} draws the same)")
        click.echo("verified" if report.good else "not verified")
    ctx.exit(0 if report.good else 1)


def _line(found: "Rerun") -> str:
    text = f"{found.verdict:10}  {found.label} on {found.sample}"
    if found.reason:
        return f"{text}: {found.reason}"
    share = "" if not found.share else f", largest difference {found.share:.2g} of its tolerance ({found.metric})"
    return f"{text}: {found.n_scores} scores{share}"
