"""``benchmark site``: the leaderboard and the samples of a store in a browser."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from benchmark.cli.base import note
from benchmark.errors import InvalidInput
from benchmark.store import default_path

QUIET = {
    "browser.gatherUsageStats": "false",  # nobody is told that, where or how the site is used
    "client.showErrorDetails": "none",
    "global.developmentMode": "false",  # else Streamlit takes one that is installed in an unusual place for its own sources
    "client.toolbarMode": "viewer",
    "runner.magicEnabled": "false",  # only what is drawn is shown
    "theme.light.primaryColor": "#0072B2",  # of both, or else Streamlit shows its light theme to everybody
    "theme.dark.primaryColor": "#2E7EB8",
    "server.fileWatcherType": "none",
    "server.enableStaticServing": "false",
}


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="$XLIP_STORE, or results/benchmark.duckdb",
    help="The DuckDB file to show.",
)
@click.option("--snapshot", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Show this frozen snapshot.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of data that is not generated, for its images on the page of samples.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Where it listens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 serves other machines too.")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path),
    help="Serve nothing, and write all pages as plain HTML to this folder: a new or empty one, or an earlier export.",
)
@click.option("--samples", type=click.IntRange(0), default=12, show_default=True, help="With --export: samples of each task.")
def site(
    store: Path | None,
    snapshot: Path | None,
    data_dir: Path | None,
    port: int,
    host: str,
    no_browser: bool,
    export_to: Path | None,
    samples: int,
) -> None:
    """Show a store, or a snapshot, as a web site; new results of a run appear by themselves. Ctrl-C ends it."""
    if store and snapshot:
        raise InvalidInput("the site shows one thing: give --store or --snapshot, not both")
    if export_to:
        write(snapshot or store or default_path(), export_to, samples, data_dir)
        return
    if find_spec("streamlit") is None:
        raise InvalidInput('the site needs streamlit; install it with `pip install "xlip-bench[site]"`')
    environment = dict(os.environ) | {"XLIP_STORE": str((store or default_path()).absolute())}
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # ranking in the background leaves a core to the pages
    for name, folder in {"XLIP_SNAPSHOT": snapshot, "XLIP_SITE_DATA": data_dir}.items():
        environment.pop(name, None)
        if folder:
            environment[name] = str(folder.absolute())
    note(f"showing {snapshot or store or default_path()} at http://{host}:{port}")
    os.execve(sys.executable, arguments(port, host, no_browser), environment)


def write(source: Path, folder: Path, samples: int, data_dir: Path | None) -> None:
    """Write the site as files."""
    if find_spec("jinja2") is None or find_spec("markdown_it") is None:
        raise InvalidInput(
            'the site as files needs jinja2 and markdown-it-py; install it with `pip install "xlip-bench[site]"`'
        )
    from benchmark.site.export import export

    done = export(source, folder, samples, note, data_dir)
    size = f"{done.n_files} files, {done.n_pages} of them pages, {done.n_bytes / 1e6:.1f} MB"
    note(f"wrote {folder / 'index.html'}: {size}, in {done.seconds:.0f} s")


def arguments(port: int, host: str, no_browser: bool) -> list[str]:
    """Return the command that serves the site."""
    app = Path(__file__).resolve().parents[2] / "site" / "app.py"
    settings = QUIET | {
        "server.port": str(port),
        "server.address": host,
        "server.headless": str(no_browser).lower(),
    }
    return [
        sys.executable,
        "-m",
        "benchmark.site.serve",
        "run",
        str(app),
        *(f"--{name}={value}" for name, value in settings.items()),
    ]
