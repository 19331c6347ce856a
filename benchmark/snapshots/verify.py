"""Checking a snapshot: its files, its tables from its scores, and some of its scores from scratch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from benchmark.errors import BenchmarkError
from benchmark.runner.environment import git_state, package_versions
from benchmark.snapshots.checksums import CHECKSUMS, changed_files
from benchmark.snapshots.manifest import MANIFEST, Manifest, SnapshotError, read_manifest
from benchmark.snapshots.reader import open_snapshot
from benchmark.snapshots.tables import Content, build, content

if TYPE_CHECKING:
    from benchmark.snapshots.rerun import Rerun


@dataclass(slots=True)
class Report:
    """What a check found. ``problems`` is one sentence for each thing that is not as it should be, ``remarks`` explain them.

    ``rebuilt`` counts tables that came out byte for byte; ``reruns`` are units made anew with ``seed``.
    """

    path: str
    problems: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])
    n_files: int = 0
    rebuilt: int = 0
    seed: int = 0
    reruns: "list[Rerun]" = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing differs; units that cannot be made here count neither way."""
        return not self.problems


def verify(
    folder: Path,
    n_reruns: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
    told: "Callable[[Rerun], None]" = lambda found: None,
) -> Report:
    """Check a snapshot; ``told`` hears of each unit as it was made anew. A folder that is no snapshot is an error.

    After a changed file nothing else is looked at but the tables, since it explains the rest.
    """
    if not folder.is_dir():
        raise SnapshotError(f"there is no folder {folder}; a snapshot is one, such as leaderboards/scenes/2026.11")
    if not any((folder / name).exists() for name in (MANIFEST, CHECKSUMS)):
        raise SnapshotError(f"{folder} is no snapshot: it has neither {MANIFEST} nor {CHECKSUMS}")
    report = Report(str(folder), seed=seed)
    report.n_files = sum(path.is_file() for path in folder.rglob("*"))
    report.problems += changed_files(folder)
    try:
        manifest = read_manifest(folder)
        with open_snapshot(folder) as connection:
            _compare_tables(folder, content(connection, manifest, folder), report)
            _compare_counts(connection, manifest, report)
            if n_reruns and report.good:
                _rerun(connection, manifest, n_reruns, data_dir, report, told)
    except (BenchmarkError, duckdb.Error, KeyError, UnicodeDecodeError) as error:
        if not report.problems:
            raise
        report.remarks.append(f"tables were not made again: {str(error).splitlines()[0]}")
    return report


def _compare_tables(folder: Path, made: Content, report: Report) -> None:
    for name, text in build(made).items():
        try:
            there = (folder / name).read_bytes()
        except OSError:
            there = None
        if there == text.encode():
            report.rebuilt += 1
        elif there is None:
            report.problems.append(f"{name} is not there; the frozen scores give one")
        else:
            report.problems.append(f"{name} is not what the frozen scores give: {_first_difference(there, text.encode())}")
    if any("frozen scores" in problem for problem in report.problems):
        report.remarks += _other_code(made.manifest)


def _first_difference(there: bytes, made: bytes) -> str:
    lines = zip(there.split(b"\n"), made.split(b"\n"), strict=False)
    for number, (old, new) in enumerate(lines, 1):
        if old != new:
            before, now = (line.decode(errors="replace")[:120] for line in (old, new))
            return f"line {number} is {before!r} and should be {now!r}"
    return f"it has {len(there)} bytes and should have {len(made)}"


def _other_code(manifest: Manifest) -> list[str]:
    """Say what else than a changed number may explain tables that differ."""
    from benchmark.metrics import METRICS

    said: list[str] = []
    here, (commit, dirty) = package_versions().get("xlip-bench", "source"), git_state(Path(__file__).parents[1])
    if dirty or (here, commit) != (manifest.code.version, manifest.code.commit):
        there = f"version {manifest.code.version}, commit {(manifest.code.commit or 'unknown')[:12]}"
        said.append(
            f"the tables were made by {there}; this is {here}, commit {(commit or 'unknown')[:12]}"
            f"{' with changes' if dirty else ''}, which may write tables in another "
            "form: check with that code before calling a number wrong"
        )
    for frozen in manifest.metrics:
        if frozen.name not in METRICS:
            said.append(f"this version has no metric {frozen.name}")
        elif METRICS[frozen.name].better != frozen.better or METRICS[frozen.name].track != frozen.track:
            said.append(f"{frozen.name} was '{frozen.better} is better' in {frozen.track}; this version says otherwise")
    return said


def _compare_counts(connection: duckdb.DuckDBPyConnection, manifest: Manifest, report: Report) -> None:
    for table in ("explanations", "scores"):
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        stated = getattr(manifest.counts, table)
        if found != stated:
            report.problems.append(f"manifest.json states {stated} {table}; {table}.parquet has {found}")


def _rerun(
    connection: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    count: int,
    data_dir: Path | None,
    report: Report,
    told: "Callable[[Rerun], None]",
) -> None:
    from benchmark.runner.catalogue import register
    from benchmark.snapshots.rerun import draw, rerun
    from benchmark.snapshots.units import Rebuilder

    register()
    tolerances = {metric.name: metric.tolerance for metric in manifest.metrics}
    for found in rerun(draw(connection, count, report.seed), Rebuilder(connection, data_dir), tolerances):
        report.reruns.append(found)
        if found.verdict == "differs":
            report.problems.append(f"{found.label} on {found.sample}, made anew, differs: {found.reason}")
        told(found)
