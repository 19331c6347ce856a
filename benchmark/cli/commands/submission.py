"""``benchmark submission``: write, check and run an explainer of one's own, without a change to the suite."""

import json
import shlex
import sys
from pathlib import Path

import click

from benchmark.cli.base import json_option, note, print_table, store_option
from benchmark.cli.commands.run import finish, read_seeds, standard_tasks
from benchmark.cli.commands.verify_submission import pack_command, verify_command
from benchmark.explainers.base import EXPLAINERS
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.run import run as run_request
from benchmark.sandbox import best_confinement
from benchmark.submissions.check import MOCK_SAMPLES, Check
from benchmark.submissions.findings import Finding
from benchmark.submissions.loading import HOME, find, load
from benchmark.submissions.manifest import read_manifest
from benchmark.submissions.template import write
from benchmark.tasks.base import TIERS

CONFINED = "Run it with your rights, files and network: for code that you trust as your own."


@click.group()
def submission() -> None:
    """Write, check and run a submission: a folder with submission.toml, explainer.py and README.md (docs/submitting.md)."""


submission.add_command(pack_command)
submission.add_command(verify_command)


@submission.command()
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help="Where to.")
def new(name: str, folder: Path) -> None:
    """Write a submission called NAME that already passes its check; replace its method by yours."""
    catalogue.register()
    written = write(name, folder, frozenset(EXPLAINERS))
    for path in sorted(written.iterdir()):
        click.echo(path)
    shown = name if folder == HOME else str(written)
    note(f"\nnext: benchmark submission check {shown}")
    note(f"then: benchmark submission run {shown} --beside grad_eclip,random --limit 24")


@submission.command()
@click.argument("path_or_name")
@click.option("--unconfined", is_flag=True, help=CONFINED)
@json_option
def check(path_or_name: str, unconfined: bool, as_json: bool) -> None:
    """Check a submission in about a minute: exit 0 if it can be handed in, 1 if something has to be mended."""
    folder = find(path_or_name)
    confinement = best_confinement(allow_none=True) if unconfined else best_confinement()
    catalogue.register()
    checking = Check(folder, confinement)
    findings: list[Finding] = []
    for finding in checking.findings():
        findings.append(finding)
        if not as_json:
            click.echo(finding)
    report = checking.report(findings)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1))
    else:
        if report.table:
            click.echo(f"\nmock run ({MOCK_SAMPLES} samples a task: that it runs, not how good it is)")
            print_table(report.table, False)
        click.echo(f"\n{_verdict(folder, report.passed)} ({report.seconds:.0f} s, confinement: {confinement})")
    if not report.passed:
        raise click.exceptions.Exit(1)


def _verdict(folder: Path, passed: bool) -> str:
    if not passed:
        return f"{folder.name} has to be mended first"
    return (
        f"{folder.name} passes. A pull request holds the folder submissions/{folder.name} and nothing else: submission.toml, "
        "explainer.py,\nREADME.md, no results. Its description names the command that was run and the table it gave"
    )


@submission.command()
@click.argument("path_or_name")
@click.option(
    "--task", "-t", multiple=True, help="Tasks or patterns: 'scenes-*'. [default: the standard ones on generated data]"
)
@click.option("--model", default="embedded", show_default=True, help="One encoder.")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--beside", multiple=True, help="Methods of the suite to run as well, with commas: grad_eclip,random.")
@click.option("--limit", type=click.IntRange(min=1), help="Samples per task.")
@click.option("--tier", type=click.Choice(list(TIERS)), help="Samples per task by name.  [default: lite]")
@click.option("--seed", "seeds", default="0", show_default=True, callback=read_seeds, help="Seeds, with commas.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per core on a CPU, else 1]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Inputs per forward pass.  [default: by memory]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of data that is not generated.")
@click.option("--retry-failed", is_flag=True, help="Try stored failures again.")
@click.option("--unconfined", is_flag=True, help=CONFINED)
@store_option
@json_option
def run(
    path_or_name: str,
    task: tuple[str, ...],
    model: str,
    revision: str | None,
    beside: tuple[str, ...],
    limit: int | None,
    tier: str | None,
    seeds: tuple[int, ...],
    device: str,
    workers: int | None,
    batch_size: int | None,
    data_dir: Path | None,
    retry_failed: bool,
    unconfined: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Run a submission, and methods beside it, into the store; then print the ranked tables.

    Like `benchmark run`, the same command goes on where it was. Tables call the submission by its name.
    """
    if limit is not None and tier is not None:
        raise click.UsageError("--limit and --tier both say how many samples; give one of them")
    folder = find(path_or_name)
    confinement = best_confinement(allow_none=True) if unconfined else best_confinement()
    catalogue.register()
    source = EncoderSource(name=model, device=device, revision=revision, batch_size=batch_size)
    explainer = load(folder, read_manifest(folder, EXPLAINERS), source, confinement)
    request = Request(
        methods=[explainer, *(catalogue.methods(",".join(beside)) if beside else [])],
        tasks=catalogue.tasks(",".join(task) or ",".join(standard_tasks())),
        limit=limit,
        tier=tier or (None if limit else "lite"),
        seeds=seeds,
        data_dir=data_dir,
    )
    command = f"benchmark {shlex.join(sys.argv[1:])}"
    summary = run_request(request, [source], store, workers=workers, retry_failed=retry_failed, command=command)
    finish(request, summary, store, as_json)
