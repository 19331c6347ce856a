"""``benchmark submission pack`` and ``verify``: results that others hand in, and how far they can be trusted."""

import contextlib
import dataclasses
import json
import re
import secrets
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.errors import InvalidInput
from benchmark.runner.catalogue import register, split

if TYPE_CHECKING:
    from benchmark.explainers.base import Explainer
    from benchmark.submissions.ladder import Climb

RERUNS = 3


@click.command("pack")
@click.argument("label")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--without-explanations", is_flag=True, help="Scores alone: they stay self-reported.")
@store_option
def pack_command(label: str, folder: Path, task: tuple[str, ...], without_explanations: bool, store: Path) -> None:
    """Write the results of the method LABEL into a new FOLDER, to be handed in and verified."""
    from benchmark.submissions.pack import pack

    packed = pack(folder, store, label, split(task) or None, not without_explanations)
    note(f"{folder}: {packed.n_scores} scores, {packed.n_explanations} explanations, {packed.n_payloads} of them with content")
    note(f"it is verified with `benchmark submission verify {folder}`")


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all in the folder]")
@click.option("--rerun", type=click.IntRange(min=0), default=RERUNS, show_default=True, help="Units of each task to run here.")
@click.option("--seed", type=click.IntRange(min=0), help="Which units these are. [default: drawn, and printed]")
@click.option("--submission", "code", help="The submission's folder or name. [default: submissions/LABEL]")
@click.option("--model", multiple=True, default=("embedded",), show_default=True, help="Encoders that may be loaded.")
@click.option("--unconfined", is_flag=True, help="Run its code with your rights: for code that you trust as your own.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--no-store", is_flag=True, help="Check only, and keep nothing.")
@store_option
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context,
    folder: Path,
    task: tuple[str, ...],
    rerun: int,
    seed: int | None,
    code: str | None,
    model: tuple[str, ...],
    unconfined: bool,
    data_dir: Path | None,
    no_store: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Check the results in FOLDER, rung by rung, and add what holds to the store with its badge.

    self-reported: the scores can be what they say. recomputed: scoring the explanations here gives these scores. re-run:
    explaining some units here does too. What disagrees is named, and nothing is stored.
    Exit codes: 0 all that was checked agrees, 1 refused, 2 no such folder.
    """
    from benchmark.submissions.ladder import climb, keep
    from benchmark.submissions.loading import HOME
    from benchmark.submissions.manifest import NAME

    register()
    seed = secrets.randbelow(2**31) if seed is None else seed
    with contextlib.ExitStack() as resources:

        def explainer(name: str, encoder: str, revision: str) -> "Explainer":
            if code is None and not re.fullmatch(NAME, name):
                raise InvalidInput(f"{name!r} is no name of a submission; name its folder with --submission")
            return resources.enter_context(_confined(code or str(HOME / name), encoder, revision, unconfined))

        found = climb(
            folder,
            tasks=split(task) or None,
            n_reruns=rerun,
            seed=seed,
            data_dir=data_dir,
            explainer_of=explainer,
            models=split(model),
        )
    if as_json:
        report = {"label": found.label, "seed": seed, "problems": found.problems, "remarks": found.remarks}
        click.echo(json.dumps(report | {"tasks": [dataclasses.asdict(step) for step in found.steps]}, indent=1))
    else:
        _print(found, seed)
    if not found.problems and not no_store:
        kept = keep(found, store, f"benchmark {shlex.join(sys.argv[1:])}", seed)
        note(f"{kept} units are new in {store}; `benchmark leaderboard` shows {found.label} with its badge")
    ctx.exit(1 if found.problems else 0)


@contextlib.contextmanager
def _confined(code: str, encoder: str, revision: str, unconfined: bool) -> "Generator[Explainer]":
    """Yield a submission in its sandbox."""
    from benchmark.explainers.base import EXPLAINERS
    from benchmark.runner.encoders import EncoderSource
    from benchmark.sandbox import best_confinement, close_children
    from benchmark.submissions.loading import find, load
    from benchmark.submissions.manifest import read_manifest

    place = find(code)
    source = EncoderSource(name=encoder, revision=revision if encoder.count("/") == 1 else None, device="cpu")
    confinement = best_confinement(allow_none=True) if unconfined else best_confinement()
    try:
        yield load(place, read_manifest(place, EXPLAINERS), source, confinement)
    finally:
        close_children()


def _print(found: "Climb", seed: int) -> None:
    for problem in found.problems:
        click.echo(f"REFUSED  {problem}")
    for remark in found.remarks:
        click.echo(f"note     {remark}")
    if not found.problems:
        print_table([dataclasses.asdict(step) for step in found.steps], False, SHOWN)
    click.echo(f"{'refused' if found.problems else 'agrees'}: {found.label} (--seed {seed} re-runs the same units)")


SHOWN = ("task", "encoder", "rung", "n_samples", "n_units", "n_recomputed", "n_rerun", "n_agreeing", "largest")
