"""Stores of several machines into one: idempotent, in any order, with every contradiction named.

Rows are the same work if they have the same content key. Of two rows of one key the better outcome stays (an explanation
before a failure), then the smaller hash of its content, then the older: a total order, so that the order of stores changes
nothing. Two explanations of one key with different content contradict each other; both machines claim to be right.
Verifications have no key and contradict nothing: a row is new unless all of it is there already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from benchmark.errors import StoreError
from benchmark.store import parquet
from benchmark.store.parquet import Part
from benchmark.store.paths import StoreFiles
from benchmark.store.reader import open_store
from benchmark.store.writer import StoreWriter

ROUND_OFF = 1e-9
_OUTCOMES = {
    "explanations": ("ok", "unsupported", "failed"),
    "scores": ("ok", "degenerate", "excluded", "unsupported", "failed"),
}
_ORDERS = {
    "explanations": "list_position({outcomes}, status), payload_hash NULLS LAST, reason NULLS LAST, created, run_id",
    # first the score of the explanation that stays
    "scores": "run_id IS DISTINCT FROM (SELECT run_id FROM explanations WHERE explanations.unit_key = every.unit_key), "
    "list_position({outcomes}, status), value NULLS LAST, reason NULLS LAST, created, run_id",
}
_KEYS = {"explanations": "unit_key", "scores": "score_key"}
_CONTRADICTIONS = {
    "explanations": """
        SELECT 'explanation ' || a.unit_key || ' (' || a.label || ', ' || a.sample_id || '): content '
            || a.payload_hash || ' and ' || b.payload_hash
        FROM explanations AS a JOIN other.explanations AS b USING (unit_key)
        WHERE a.status = 'ok' AND b.status = 'ok' AND a.payload_hash <> b.payload_hash""",
    "scores": f"""
        SELECT 'score ' || a.score_key || ' (' || a.task || ', ' || a.metric || ', ' || a.label || ', ' || a.sample_id
            || '): ' || a.value || ' and ' || b.value
        FROM scores AS a JOIN other.scores AS b USING (score_key)
        WHERE a.status = b.status AND abs(a.value - b.value) > {ROUND_OFF} * greatest(1, abs(a.value))""",
    "samples": """
        SELECT 'sample ' || a.sample_id || ' of ' || a.data || ': cluster or strata differ'
        FROM samples AS a JOIN other.samples AS b USING (data, data_version, sample_id, text_hash)
        WHERE a.cluster <> b.cluster OR a.strata::VARCHAR <> b.strata::VARCHAR""",
}


@dataclass(slots=True)
class Merged:
    """What one store brought: rows that were new, rows known before, and what contradicts them, one sentence each."""

    store: str
    explanations: int = 0
    scores: int = 0
    verifications: int = 0
    known: int = 0
    conflicts: list[str] = field(default_factory=list[str])


def merge(target: Path, sources: Sequence[Path | str]) -> list[Merged]:
    """Add the rows of ``sources`` to ``target``, which is made if it is not there; each source all or nothing.

    A folder (or an address such as ``s3://bucket/board``) stands for all stores that were exported into it.

    A source that is missing, foreign, of another schema or the target itself raises ``StoreError`` before anything is
    written.
    """
    found = [item for source in sources for item in _stores(source)]
    for source in found:
        if isinstance(source, Part):
            parquet.check(source)
            continue
        if source.resolve() == target.resolve():
            raise StoreError(f"{source} is the store to merge into; name only the others")
        with open_store(source):
            pass  # refuses what is no store, and other schemas
        if StoreFiles(source).part.exists():
            raise StoreError(f"{source} has rows of a killed or running command in {source}.part; finish that command first")
    with StoreWriter(target) as writer:
        return [_absorb(writer, source) for source in found]


def _stores(source: Path | str) -> list[Path | Part]:
    """Return what a source stands for: one store, or the parts of a folder."""
    if not parquet.is_address(str(source)) and not Path(source).is_dir():
        return [Path(source)]
    parts = parquet.parts_of(str(source))
    if not parts:
        raise StoreError(f"{source} holds no exported store; `benchmark export {source}` writes one there")
    return list(parts)


def _absorb(writer: StoreWriter, source: Path | Part) -> Merged:
    found = Merged(str(source))
    with writer.attached(source, "other") as connection:
        for query in _CONTRADICTIONS.values():
            found.conflicts += [sentence for (sentence,) in connection.execute(query).fetchall()]
        found.conflicts.sort()
        connection.execute("INSERT OR IGNORE INTO runs BY NAME SELECT * FROM other.runs")
        connection.execute("INSERT OR IGNORE INTO samples BY NAME SELECT * FROM other.samples ORDER BY ALL")
        found.explanations, known = _take(connection, "explanations")
        found.scores, known_scores = _take(connection, "scores")
        found.known = known + known_scores
        found.verifications = _take_verifications(connection)
    return found


def _take(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[int, int]:
    """Keep the first row of every key in the order of ``_ORDERS``; return how many keys were new and how many known."""
    key, order = _KEYS[table], _ORDERS[table].format(outcomes=list(_OUTCOMES[table]))
    counted = f"SELECT count(*), count(*) FILTER ({key} IN (SELECT {key} FROM {table})) FROM other.{table}"
    total, known = connection.execute(counted).fetchone() or (0, 0)
    connection.execute(f"""
        INSERT OR REPLACE INTO {table} BY NAME
        SELECT every.* FROM (SELECT * FROM {table} WHERE {key} IN (SELECT {key} FROM other.{table})
            UNION ALL BY NAME SELECT * FROM other.{table}) AS every
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1""")
    return total - known, known


def _take_verifications(connection: duckdb.DuckDBPyConnection) -> int:
    """Add the verifications that are not there yet; return how many."""
    new = "SELECT * FROM other.verifications EXCEPT SELECT * FROM verifications"
    (count,) = connection.execute(f"INSERT INTO verifications {new}").fetchone() or (0,)
    return count
