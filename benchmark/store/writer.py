"""The one process that adds to a store: a transaction per unit, published whole from time to time."""

import dataclasses
import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import duckdb

from benchmark.errors import StoreError
from benchmark.records import Cost, ExplanationRecord, RunRecord, SampleRecord, ScoreRecord, UnitResult, canonical
from benchmark.store import parquet, schema
from benchmark.store.lock import WriterLock
from benchmark.store.parquet import Part
from benchmark.store.paths import StoreFiles, disk_errors, literal, replace, replace_with_copy
from benchmark.store.reader import known_status
from benchmark.store.verifications import Verification

PUBLISH_SECONDS = 5.0
PUBLISH_SHARE = 20
_COST = ("image_forwards", "text_forwards", "backwards", "seconds", "peak_mb")
_STORED = ("status", "error_class", "reason", "payload", "similarity", *_COST)


@dataclass(frozen=True, slots=True)
class StoredExplanation:
    """What a store knows of one unit: enough to score it again without explaining it again."""

    status: str
    error_class: str | None
    reason: str | None
    payload: bytes | None
    similarity: float | None = None
    cost: Cost = field(default_factory=Cost)


class StoreWriter:
    """Opens a store for writing; use it in a ``with`` block.

    Rows go to ``<store>.part``, an ordinary DuckDB file that nobody else opens, so its write-ahead log makes every
    committed unit safe from ``kill -9``. ``publish`` puts a whole copy of it in place of the store, at most every five
    seconds and at most a twentieth of the time. A ``.part`` that a killed run left is ahead of the store: it goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = StoreFiles(path)
        self._resources = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._run_id = ""
        self._n_units = self._n_failed = 0
        self._unpublished = False
        self._published_at = time.monotonic()
        self._publishing_took = 0.0

    def __enter__(self) -> Self:
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._resources.enter_context(WriterLock(self._files.lock))
            try:
                self._open()
            except BaseException:
                self._abandon()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if not isinstance(error, StoreError):
                self._finish()
        finally:
            self._abandon()

    def begin(self, run: RunRecord) -> None:
        """Write down that a run starts; the rows that follow are its rows."""
        self._run_id, self._n_units, self._n_failed = run.run_id, 0, 0
        row = {
            "run_id": run.run_id,
            "command": run.command,
            "status": "running",
            "started": schema.utc_now(),
            "commit": run.commit,
            "dirty": run.dirty,
            "versions": canonical(run.versions),
            "device": run.device,
            "seeds": list(run.seeds),
            "hardware": canonical(run.hardware),
        }
        with disk_errors(self.path):
            self._insert("runs", [row])
        self._unpublished = True

    def add(self, result: UnitResult) -> None:
        """Store what one unit gave, all or nothing; publish when it is time. A row of the same key is replaced."""
        created = {"run_id": self._run_id, "created": schema.utc_now()}
        with self.transaction():
            made = [*([] if result.explanation is None else [result.explanation]), *result.probes]
            samples = [result.sample, *(record.sample for record in result.probes)]
            self._insert("samples", [_sample_row(sample) for sample in samples], "OR IGNORE")
            if made:
                self._insert("explanations", [_explanation_row(record) | created for record in made], "OR REPLACE")
            if result.scores:
                rows = [score_row(score) | origin_row(result) | created for score in result.scores]
                self._insert("scores", rows, "OR REPLACE")
        self._n_units += 1
        self._n_failed += result.failed
        if time.monotonic() - self._published_at > max(PUBLISH_SECONDS, PUBLISH_SHARE * self._publishing_took):
            self.publish()

    def verify(self, verification: Verification) -> None:
        """Store how far scores were checked by this run; the newest one gives the badge in tables."""
        row = dataclasses.asdict(verification) | {
            "evidence": canonical(verification.evidence),
            "run_id": self._run_id,
            "created": schema.utc_now(),
        }
        with self.transaction():
            self._insert("verifications", [row])

    def end(self, status: str) -> None:
        """Write down how the run ended (``done`` or ``interrupted``); a killed one stays ``running``."""
        with disk_errors(self.path):
            self._database.execute(
                "UPDATE runs SET status = ?, finished = ?, n_units = ?, n_failed = ? WHERE run_id = ?",
                [status, schema.utc_now(), self._n_units, self._n_failed, self._run_id],
            )
        self._unpublished = True

    def publish(self) -> None:
        """Let readers see everything stored so far."""
        began = time.monotonic()
        with disk_errors(self.path):
            self._settle()
            replace_with_copy(self._files.part, self._files.published, self._files.copying)
            self._connect()
        self._unpublished = False
        self._published_at = time.monotonic()
        self._publishing_took = self._published_at - began

    @contextmanager
    def transaction(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give the database for a change that is made whole or not at all."""
        connection = self._database
        with disk_errors(self.path):
            connection.execute("BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):
                    connection.execute("ROLLBACK")
                raise
        self._unpublished = True

    @contextmanager
    def attached(self, other: Path | Part, name: str) -> Generator[duckdb.DuckDBPyConnection]:
        """Give the database with another store attached read-only under ``name``, in one transaction."""
        if isinstance(other, Part):
            with parquet.attached(self._database, other, name), self.transaction() as connection:
                yield connection
            return
        with disk_errors(self.path):
            self._database.execute(f"ATTACH {literal(other)} AS {name} (READ_ONLY)")
        try:
            with self.transaction() as connection:
                yield connection
        finally:
            with suppress(duckdb.Error):
                self._database.execute(f"DETACH {name}")

    def known_status(self, encoder: str, revision: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the status of every explanation of an encoder by unit key, and of every score by score key."""
        return known_status(self._database, encoder, revision)

    def explanation(self, unit_key: str) -> StoredExplanation | None:
        """Return a stored explanation for scoring."""
        query = f"SELECT {', '.join(_STORED)} FROM explanations WHERE unit_key = ?"
        row = self._database.execute(query, [unit_key]).fetchone()
        if row is None:
            return None
        status, error_class, reason, payload, similarity, *cost = row
        return StoredExplanation(status, error_class, reason, payload, similarity, Cost(**dict(zip(_COST, cost, strict=True))))

    @property
    def _database(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise StoreError(f"the store {self.path} is not open for writing")
        return self._connection

    def _open(self) -> None:
        files = self._files
        files.copying.unlink(missing_ok=True)
        if files.part.exists():
            self._unpublished = True
        else:
            files.part_wal.unlink(missing_ok=True)
            if files.published.exists():
                self._check_published()
                replace_with_copy(files.published, files.part, files.copying)
        self._connect()
        found = schema.version_of(self._database, self.path)
        schema.require_readable(found, self.path)
        if found is None:
            schema.create(self._database, _written_by())
        elif found < schema.SCHEMA_VERSION:
            schema.migrate(self._database, found)
            self._unpublished = True

    def _check_published(self) -> None:
        """Refuse a foreign or newer store before a byte of it is copied."""
        with _connect(self.path, read_only=True) as connection:
            schema.require_readable(schema.version_of(connection, self.path), self.path)

    def _connect(self) -> None:
        self._connection = _connect(self._files.part)

    def _settle(self) -> None:
        """Bring ``part`` to rest as one file without a log. DuckDB's own lock forbids copying it while it is open."""
        self._database.execute("CHECKPOINT")
        self._database.close()
        self._connection = None

    def _finish(self) -> None:
        files = self._files
        with disk_errors(self.path):
            self._settle()
            if self._unpublished:
                replace(files.part, files.published)
            else:
                files.part.unlink()

    def _abandon(self) -> None:
        if self._connection is not None:
            with suppress(duckdb.Error):
                self._connection.close()
            self._connection = None
        self._resources.close()

    def _insert(self, table: str, rows: list[dict[str, Any]], otherwise: str = "") -> None:
        columns = ", ".join(f'"{name}"' for name in rows[0])
        places = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        statement = f"INSERT {otherwise} INTO {table} ({columns}) VALUES {places}"  # one statement is planned once
        self._database.execute(statement, [value for row in rows for value in row.values()])


def _connect(path: Path, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise
        first = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be opened as a store ({first}); move it away or name another with --store") from error


def _sample_row(sample: SampleRecord) -> dict[str, Any]:
    return {
        "data": sample.data,
        "data_version": sample.data_version,
        "sample_id": sample.sample_id,
        "text_hash": sample.text_hash,
        "text": sample.text,
        "cluster": sample.cluster,
        "strata": canonical(sample.strata),
    }


def _explanation_row(record: ExplanationRecord) -> dict[str, Any]:
    origin, cost, sample = record.origin, record.cost, record.sample
    return {
        "unit_key": record.unit_key,
        "encoder": origin.encoder,
        "revision": origin.revision,
        "method": origin.method,
        "label": origin.label,
        "method_version": origin.method_version,
        "parameters": canonical(origin.parameters),
        "data": sample.data,
        "data_version": sample.data_version,
        "sample_id": sample.sample_id,
        "text_hash": sample.text_hash,
        "seed": origin.seed,
        "status": record.status,
        "error_class": record.error_class,
        "reason": record.reason,
        "payload": record.payload,
        "payload_hash": record.payload_hash,
        "similarity": record.similarity,
        "explained_similarity": record.explained_similarity,
        "image_forwards": cost.image_forwards,
        "text_forwards": cost.text_forwards,
        "backwards": cost.backwards,
        "seconds": cost.seconds,
        "peak_mb": cost.peak_mb,
        "device": record.device,
    }


def score_row(score: ScoreRecord) -> dict[str, Any]:
    return {
        "score_key": score.score_key,
        "unit_key": score.unit_key,
        "task": score.task,
        "task_version": score.task_version,
        "task_hash": score.task_hash,
        "metric": score.metric,
        "position": score.position,
        "status": score.status,
        "value": score.value,
        "chance": score.chance,
        "reason": score.reason,
        "flags": canonical(score.flags),
    }


def origin_row(result: UnitResult) -> dict[str, Any]:
    """Return the columns that a unit's scores share with its explanation, so that queries need no join."""
    origin, sample = result.origin, result.sample
    return {
        "encoder": origin.encoder,
        "revision": origin.revision,
        "method": origin.method,
        "label": origin.label,
        "method_version": origin.method_version,
        "data": sample.data,
        "data_version": sample.data_version,
        "sample_id": sample.sample_id,
        "cluster": sample.cluster,
        "seed": origin.seed,
    }


def _written_by() -> str:
    try:
        return f"xlip-bench {version('xlip-bench')}"
    except PackageNotFoundError:
        return f"xlip-bench from source, process {os.getpid()}"
