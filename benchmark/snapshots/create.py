"""Freezing what a store's leaderboards show: scores, tables, what they depend on, and checksums."""

import json
import re
import shlex
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from benchmark.data import DATASETS
from benchmark.explainers.base import EXPLAINERS
from benchmark.metrics import METRICS
from benchmark.ranking import Row, Selection, leaderboard
from benchmark.runner.catalogue import register
from benchmark.runner.environment import git_state, package_versions
from benchmark.snapshots.checksums import write_checksums
from benchmark.snapshots.frozen import choose, freeze
from benchmark.snapshots.manifest import (
    FORMAT,
    MANIFEST,
    Code,
    Counts,
    FrozenData,
    FrozenEncoder,
    FrozenMethod,
    FrozenMetric,
    FrozenRun,
    FrozenTask,
    Manifest,
    SnapshotError,
)
from benchmark.snapshots.reader import open_snapshot
from benchmark.snapshots.tables import build, content
from benchmark.snapshots.tolerance import tolerance
from benchmark.store import open_store, rows, schema
from benchmark.tasks import TASKS

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def create(folder: Path, store: Path, selection: Selection, note: str = "") -> Manifest:
    """Write a snapshot into a new folder ``<suite>/<version>``, all of it or nothing; return its manifest.

    A folder that is there, names with other than small letters, digits, ``.``, ``_`` and ``-``, an empty selection, and
    scores of tasks or data sets that are not registered raise ``SnapshotError``.
    """
    register()
    suite, version = folder.resolve().parts[-2:]
    for name in (suite, version):
        if not _NAME.fullmatch(name):
            raise SnapshotError(f"{name!r} is no name for a part of <suite>/<version>: small letters, digits, '.', '_' and '-'")
    if folder.exists():
        raise SnapshotError(f"{folder} is there already, and what is published never changes; choose another version")
    growing = folder.with_name(f".{folder.name}.growing")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    try:
        manifest = _write(growing, suite, version, store, selection, note)
        growing.rename(folder)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    return manifest


def _write(folder: Path, suite: str, version: str, store: Path, selection: Selection, note: str) -> Manifest:
    with open_store(store) as connection:
        if not choose(connection, selection):
            raise SnapshotError(f"no score in {store} is of this selection; `benchmark list runs` shows what was run")
        board = leaderboard(connection, selection)
        manifest = _manifest(connection, suite, version, board, note)
        freeze(connection, folder, [data.name for data in manifest.data if not data.shows_texts])
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    with open_snapshot(folder) as frozen:
        again = leaderboard(frozen)
        if again != board:
            changed = next((row for row, other in zip(again, board, strict=False) if row != other), board[-1])
            raise SnapshotError(
                f"the frozen scores do not give the store's leaderboard (first at {changed.task}, {changed.metric}, "
                f"{changed.method}); nothing was written. Please report this"
            )
        for name, text in build(content(frozen, manifest, folder)).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    write_checksums(folder)
    return manifest


def _manifest(connection: duckdb.DuckDBPyConnection, suite: str, version: str, board: list[Row], note: str) -> Manifest:
    commit, dirty = git_state(Path(__file__).parents[1])
    metrics = sorted({row.metric for row in board})
    return Manifest(
        format=FORMAT,
        suite=suite,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        note=note,
        schema_version=schema.SCHEMA_VERSION,
        code=Code(version=package_versions().get("xlip-bench", "source"), commit=commit, dirty=dirty),
        counts=_counts(connection, board),
        tasks=_tasks(connection),
        metrics=tuple(_metric(name) for name in metrics),
        encoders=tuple(
            FrozenEncoder(**row)
            for row in rows(connection, "SELECT DISTINCT encoder AS name, revision FROM chosen ORDER BY ALL")
        ),
        data=_data(connection),
        methods=_methods(connection),
        runs=_runs(connection),
    )


def _counts(connection: duckdb.DuckDBPyConnection, board: list[Row]) -> Counts:
    def count(query: str) -> int:
        (found,) = connection.execute(query).fetchone() or (0,)
        return int(found)

    units = "SELECT count(*) FROM explanations WHERE unit_key IN (SELECT unit_key FROM chosen)"
    return Counts(
        explanations=count(units),
        failed=count(f"{units} AND status = 'failed'"),
        unsupported=count(f"{units} AND status = 'unsupported'"),
        scores=count("SELECT count(*) FROM chosen"),
        samples=count("SELECT count(DISTINCT (data, sample_id)) FROM chosen"),
        boards=len({(row.task, row.model, row.metric) for row in board}),
        rows=len(board),
        partial=sum(row.state == "partial" for row in board),
    )


def _tasks(connection: duckdb.DuckDBPyConnection) -> tuple[FrozenTask, ...]:
    query = """
        SELECT task AS id, task_version AS version, task_hash AS hash, any_value(data) AS data,
            count(DISTINCT sample_id) AS n_samples FROM chosen GROUP BY ALL ORDER BY ALL"""
    found = rows(connection, query)
    for row in found:
        if row["id"] not in TASKS:
            raise SnapshotError(f"no task {row['id']!r} is registered here; freeze the others with --task, or install it")
    return tuple(FrozenTask(**row, headline=TASKS[row["id"]].protocol.metrics[0]) for row in found)


def _metric(name: str) -> FrozenMetric:
    metric = METRICS[name]
    return FrozenMetric(name=name, better=metric.better, unit=metric.unit, track=metric.track, tolerance=tolerance(metric))


def _data(connection: duckdb.DuckDBPyConnection) -> tuple[FrozenData, ...]:
    found = rows(connection, "SELECT DISTINCT data AS name, coalesce(data_version, '') AS version FROM chosen ORDER BY ALL")
    kinds = {row["name"]: DATASETS[row["name"]] for row in found}
    return tuple(
        FrozenData(**row, licence=kind.licence, synthetic=kind.synthetic, shows_texts=kind.shows_images, bibtex=kind().bibtex)
        for row in found
        for kind in (kinds[row["name"]],)
    )


def _methods(connection: duckdb.DuckDBPyConnection) -> tuple[FrozenMethod, ...]:
    query = """
        SELECT label, method AS name, method_version AS version, parameters::VARCHAR AS parameters, seed FROM explanations
        WHERE unit_key IN (SELECT unit_key FROM chosen) GROUP BY ALL ORDER BY ALL"""
    seeds: dict[tuple[str, str, int, str], list[int]] = defaultdict(list)
    for row in rows(connection, query):
        seeds[row["label"], row["name"], row["version"], row["parameters"]].append(row["seed"])
    return tuple(
        FrozenMethod(
            label=label,
            name=name,
            version=version,
            parameters=json.loads(parameters),
            seeds=tuple(numbers),
            bibtex=EXPLAINERS[name].bibtex if name in EXPLAINERS else "",
        )
        for (label, name, version, parameters), numbers in seeds.items()
    )


def _runs(connection: duckdb.DuckDBPyConnection) -> tuple[FrozenRun, ...]:
    query = """
        SELECT run_id, command, status, started, "commit", dirty, device, seeds, versions, hardware FROM runs
        WHERE run_id IN (SELECT run_id FROM chosen UNION SELECT run_id FROM explanations
            WHERE unit_key IN (SELECT unit_key FROM chosen)) ORDER BY started, run_id"""
    return tuple(FrozenRun(**_published(row)) for row in rows(connection, query))


def _published(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's row for publication: no folder of the machine it ran on is named."""
    words = shlex.split(run["command"])
    shown = [re.sub(r"^(--[\w-]+=)?[~.]*/.*/", r"\1", word) for word in words]
    started = run["started"].replace(tzinfo=UTC)
    parsed = {name: json.loads(run[name]) for name in ("versions", "hardware")}
    return run | parsed | {"command": shlex.join(shown), "started": started}
