"""The results of one method as a folder to hand in: per-sample scores, explanations, and what made them.

``results.json`` says what this is (format, label, code, packages). ``scores.parquet`` has a row per score, as in a snapshot;
``explanations.parquet`` one per explanation, those of probes too: identity, status, hash, cost. ``explanations/KEY.npz`` are
the explanations themselves, by the key of their unit, and ``SHA256SUMS`` covers all of them.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import InvalidInput, UnknownName
from benchmark.ranking import Selection
from benchmark.runner.environment import git_state, package_versions
from benchmark.sandbox.watch import harmless
from benchmark.snapshots.checksums import changed_files, write_checksums
from benchmark.snapshots.frozen import FROZEN, choose, write
from benchmark.store import open_store
from benchmark.submissions.payloads import MOST_BYTES

FORMAT = 1
RESULTS = "results.json"
MOST_FILES = 200_000
MOST_TABLE_BYTES = 256 * 2**20
MOST_ROWS = 5_000_000

# Explanations of probes have no scores: they are those of this method that no score is of.
_EXPLANATIONS = """
    SELECT {columns} FROM explanations
    WHERE unit_key IN (SELECT unit_key FROM chosen) OR (
        (label, method_version, encoder, data) IN (SELECT (label, method_version, encoder, data) FROM chosen)
        AND unit_key NOT IN (SELECT unit_key FROM scores))
    ORDER BY unit_key"""
_COLUMNS = "* EXCLUDE (payload, reason, run_id, created, device), substr(reason, 1, 500) AS reason"
_SCORES = "SELECT * EXCLUDE (reason, run_id, created), substr(reason, 1, 500) AS reason FROM (" + FROZEN["scores"] + ")"


class Results(BaseModel):
    """``results.json``: what its author says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    label: str = Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")
    commit: str | None = Field(default=None, max_length=64)
    dirty: bool | None = None
    versions: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """How much a folder holds."""

    n_scores: int
    n_explanations: int
    n_payloads: int


def pack(folder: Path, store: Path, label: str, tasks: Sequence[str] | None = None, with_explanations: bool = True) -> Packed:
    """Write the results of one method, by its label in tables, into a new folder."""
    if folder.exists():
        raise InvalidInput(f"{folder} is there already; name a new folder")
    with open_store(store) as connection:
        if not choose(connection, Selection(tasks=tasks, methods=[label])):
            known = [name for (name,) in connection.execute("SELECT DISTINCT label FROM scores").fetchall()]
            if label in known:
                raise InvalidInput(f"{label} has no scores of these tasks in {store}; `benchmark list runs` shows what was run")
            raise UnknownName(f"method with scores in {store}", label, known)
        folder.mkdir(parents=True)
        try:
            return _write(connection, folder, label, with_explanations)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, label: str, with_explanations: bool) -> Packed:
    write(connection, _SCORES.format(reason="reason"), folder / "scores.parquet")
    write(connection, _EXPLANATIONS.format(columns=_COLUMNS), folder / "explanations.parquet")
    counts = [connection.execute(f"SELECT count(*) FROM ({query})").fetchone() or (0,) for query in _queries()]
    n_payloads = 0
    if with_explanations:
        payloads = folder / "explanations"
        payloads.mkdir()
        found = connection.execute(_EXPLANATIONS.format(columns="unit_key, payload"))
        while row := found.fetchone():
            key, payload = row
            if payload is not None:
                (payloads / f"{key}.npz").write_bytes(payload)
                n_payloads += 1
    commit, dirty = git_state(Path(__file__).parent)
    about = Results(format=FORMAT, label=label, commit=commit, dirty=dirty, versions=package_versions())
    (folder / RESULTS).write_text(json.dumps(about.model_dump(), indent=1) + "\n", encoding="utf-8")
    write_checksums(folder)
    return Packed(n_scores=counts[0][0], n_explanations=counts[1][0], n_payloads=n_payloads)


def _queries() -> tuple[str, str]:
    return "SELECT 1 FROM chosen", _EXPLANATIONS.format(columns="1")


_SCORE_TYPES = {
    **dict.fromkeys(("unit_key", "task", "task_hash", "metric", "encoder", "revision", "method", "label"), "VARCHAR"),
    **dict.fromkeys(("data", "data_version", "sample_id", "cluster", "status", "reason"), "VARCHAR"),
    **dict.fromkeys(("task_version", "position", "method_version"), "INTEGER"),
    **dict.fromkeys(("value", "chance"), "DOUBLE"),
    "seed": "BIGINT",
    "flags": "JSON",
}
_EXPLANATION_TYPES = {
    **dict.fromkeys(("unit_key", "encoder", "revision", "method", "label", "data", "data_version"), "VARCHAR"),
    **dict.fromkeys(("sample_id", "text_hash", "status", "error_class", "reason", "payload_hash"), "VARCHAR"),
    **dict.fromkeys(("similarity", "explained_similarity", "image_forwards", "text_forwards"), "DOUBLE"),
    **dict.fromkeys(("backwards", "seconds", "peak_mb"), "DOUBLE"),
    "method_version": "INTEGER",
    "parameters": "JSON",
    "seed": "BIGINT",
}
TYPES = {"scores": _SCORE_TYPES, "explanations": _EXPLANATION_TYPES}
"""The columns of the tables and their types."""


def open_results(folder: Path, connection: duckdb.DuckDBPyConnection) -> Results:
    """Read a folder of results into the tables ``scores`` and ``explanations`` of an empty database.

    A folder that was changed since it was packed, is too large or has other columns raises ``InvalidInput``.
    """
    if not (folder / RESULTS).is_file():
        raise InvalidInput(f"{folder} holds no results: it has no {RESULTS}. `benchmark submission pack` writes such a folder")
    _check_size(folder)
    changed = changed_files(folder)
    if changed:
        raise InvalidInput(f"{folder} is not as it was packed: {harmless('; '.join(changed[:3]))[:500]}")
    try:
        about = Results.model_validate_json((folder / RESULTS).read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{folder / RESULTS} cannot be read: {' '.join(str(error).splitlines()[:3])}") from error
    if about.format != FORMAT:
        raise InvalidInput(f"{folder} has the format {about.format}; this version of the benchmark reads {FORMAT}")
    for table, types in TYPES.items():
        _read_table(connection, folder / f"{table}.parquet", table, types)
    return about


def _check_size(folder: Path) -> None:
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise InvalidInput(f"{folder} holds more than {MOST_FILES} files")
        if path.is_symlink():
            raise InvalidInput(f"{path} is a link; results are plain files")
        most = MOST_TABLE_BYTES if path.suffix == ".parquet" else MOST_BYTES
        if path.is_file() and path.stat().st_size > most:
            raise InvalidInput(f"{path} has {path.stat().st_size} bytes; at most {most} are read")


def _read_table(connection: duckdb.DuckDBPyConnection, path: Path, table: str, types: dict[str, str]) -> None:
    source: dict[str, Any] = {"path": str(path)}
    try:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet($path)", source).fetchall()
        found = {row[0]: row[1] for row in described}
        if found != types:
            wrong = sorted(set(found.items()) ^ set(types.items()))[0]
            raise InvalidInput(f"{path} has other columns than a packed one, the first: {wrong[0]!r:.60} ({wrong[1]:.60})")
        (count,) = connection.execute("SELECT count(*) FROM read_parquet($path)", source).fetchone() or (0,)
        if count > MOST_ROWS:
            raise InvalidInput(f"{path} has {count} rows; at most {MOST_ROWS} are read")
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet($path)", source)
    except duckdb.Error as error:
        raise InvalidInput(f"{path} cannot be read: {str(error).splitlines()[0]:.200}") from error
