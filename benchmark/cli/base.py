"""The command group, what its commands share, and how errors end."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from benchmark.errors import BenchmarkError, UnknownName
from benchmark.store import StoreFull, default_path

INTERRUPTED = 130


class Mistake(click.ClickException):
    """A deliberate error of the package: one message, no traceback."""

    exit_code = 2


class Misfortune(click.ClickException):
    """Nobody's mistake (a full disk): some units are not done."""

    exit_code = 1


COMMANDS = {
    "run": "benchmark.cli.commands.run:run",
    "leaderboard": "benchmark.cli.commands.leaderboard:leaderboard",
    "tracks": "benchmark.cli.commands.tracks:tracks_command",
    "compare": "benchmark.cli.commands.compare:compare_command",
    "merge": "benchmark.cli.commands.merge:merge_command",
    "export": "benchmark.cli.commands.export:export_command",
    "snapshot": "benchmark.cli.commands.snapshot:snapshot",
    "rescore": "benchmark.cli.commands.rescore:rescore",
    "score": "benchmark.cli.commands.score:score",
    "select": "benchmark.cli.commands.select:select",
    "reproduce": "benchmark.cli.commands.reproduce:reproduce",
    "list": "benchmark.cli.commands.catalogue:list_command",
    "explain": "benchmark.cli.commands.explain:explain",
    "sql": "benchmark.cli.commands.sql:sql",
    "speed": "benchmark.cli.commands.speed:speed",
    "submission": "benchmark.cli.commands.submission:submission",
    "site": "benchmark.cli.commands.site:site",
    "doctor": "benchmark.cli.commands.doctor:doctor",
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for, and may raise the package's own errors.

    Loading torch takes seconds; commands that only read a store do without.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(import_module(module), name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Answer an unknown command with the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit 2 for what the user can mend, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except BenchmarkError as error:
            raise (Misfortune if isinstance(error, StoreFull) else Mistake)(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="xlip-bench", prog_name="benchmark")
def cli() -> None:
    """Benchmark explanations of CLIP-like image-text encoders.

    Results go to stdout, progress to stderr. Exit codes: 0 done, 1 some units failed, 2 wrong usage.
    """


def store_option[F: Callable[..., Any]](command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default_path,
        show_default="$XLIP_STORE, or results/benchmark.duckdb",
        help="The DuckDB file that holds every number.",
    )(command)


def json_option[F: Callable[..., Any]](command: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_table(rows: Sequence[Mapping[str, Any]], as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Print rows, as columns for a terminal or as a list of JSON objects."""
    from json import dumps

    from benchmark.ranking.tables import columns as align

    if as_json:
        click.echo(dumps(list(rows), indent=1, default=str))
    elif rows:
        names = list(columns or rows[0])
        numeric = {name for name in names if all(isinstance(row[name], int | float | None) for row in rows)}
        left = [i for i, name in enumerate(names) if name not in numeric]
        click.echo(align([names, *([cell(row[name]) for name in names] for row in rows)], left=left))


def cell(value: Any) -> str:
    """Return a value as it stands in a table."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name}={item}" for name, item in value.items())
        case _:
            return str(value)


def note(text: str) -> None:
    """Say something that is no result."""
    click.echo(text, err=True)
    sys.stderr.flush()
