"""``benchmark doctor`` asks whether everything is in place."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click

from benchmark.cli.base import json_option, print_table, store_option
from benchmark.errors import BenchmarkError
from benchmark.runner.catalogue import register
from benchmark.runner.encoders import EncoderSource, available_cores
from benchmark.store import open_store
from benchmark.store.lock import holder_of
from benchmark.store.paths import StoreFiles

GIGABYTE = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``message`` says what to do when something is wrong."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str


@click.command()
@store_option
@json_option
def doctor(store: Path, as_json: bool) -> None:
    """Check Python, packages, device, disk, the store and the embedded encoder; exit 1 if something must be mended."""
    findings = [finding for check in CHECKS for finding in check(store)]
    print_table([asdict(finding) for finding in findings], as_json)
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)


def _python(store: Path) -> Iterator[Finding]:
    good = sys.version_info >= (3, 12)
    yield Finding("python", "ok" if good else "fail", platform.python_version() + ("" if good else "; 3.12 or newer is needed"))


def _packages(store: Path) -> Iterator[Finding]:
    names = ("numpy", "scipy", "pandas", "duckdb", "torch", "transformers", "open-clip-torch", "shapiq", "matplotlib")
    found: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("package", "fail", f"{name} is missing; install it with `pip install xlip-bench`")
    yield Finding("packages", "ok", ", ".join(found))
    try:
        requires("xlip-bench")
    except PackageNotFoundError:
        yield Finding("package", "warn", "xlip-bench is not installed but found on the path; `pip install -e .` installs it")


def _device(store: Path) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    threads = f"{torch.get_num_threads()} threads, {available_cores()} cores"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Finding("device", "ok", f"{name}, {free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free; {threads}")
    else:
        yield Finding("device", "ok", f"no GPU that torch can use; the CPU it is: {threads}")


def _disk(store: Path) -> Iterator[Finding]:
    folder = next(parent for parent in (store.absolute().parent, *store.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free / GIGABYTE
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "fail", f"{folder} cannot be written; name another place with --store or XLIP_STORE")
    else:
        state = "ok" if free > 2 else "warn" if free > 0.2 else "fail"
        yield Finding("disk", state, f"{free:.1f} GB free at {folder}" + ("" if state == "ok" else "; free some space"))


def _store(store: Path) -> Iterator[Finding]:
    files = StoreFiles(store)
    holder = holder_of(files.lock)
    if holder is not None:
        yield Finding("store", "ok", f"being written by {holder}")
    elif files.part.exists():
        yield Finding("store", "warn", f"a killed run left {files.part.name}; the next `benchmark run` goes on from it")
    if not store.exists():
        yield Finding("store", "ok", f"none yet at {store}; `benchmark run` makes one")
        return
    try:
        with open_store(store) as connection:
            counts = [
                f"{(connection.execute(f'SELECT count(*) FROM {table}').fetchone() or (0,))[0]} {table}"
                for table in ("runs", "explanations", "scores")
            ]
    except BenchmarkError as error:
        yield Finding("store", "fail", str(error))
        return
    yield Finding("store", "ok", f"{store}: {', '.join(counts)}, {store.stat().st_size / 2**20:.1f} MB")


def _registered(store: Path) -> Iterator[Finding]:
    from benchmark.explainers.base import EXPLAINERS
    from benchmark.metrics.base import METRICS
    from benchmark.plugins import FAILURES
    from benchmark.tasks.base import TASKS

    register()
    yield Finding("registered", "ok", f"{len(EXPLAINERS)} methods, {len(TASKS)} tasks, {len(METRICS)} metrics")
    for failure in FAILURES:
        yield Finding("registered", "warn", str(failure))


def _encoder(store: Path) -> Iterator[Finding]:
    try:
        encoder = EncoderSource(name="embedded", device="cpu").load()
    except BenchmarkError as error:
        yield Finding("encoder", "fail", f"the embedded encoder cannot be loaded: {error}")
        return
    rows, columns = encoder.patch_grid
    yield Finding("encoder", "ok", f"embedded loads and agrees with its library: {rows} x {columns} patches")


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (_python, _packages, _device, _disk, _store, _registered, _encoder)
