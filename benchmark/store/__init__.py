"""One DuckDB file that a run, queries, a second run and the site share; ``docs/store.md`` says how."""

from benchmark.store.paths import StoreFull, default_path
from benchmark.store.reader import known_status, open_store, query_store, rows
from benchmark.store.verifications import RUNGS, Rung, Verification
from benchmark.store.writer import StoredExplanation, StoreWriter

__all__ = [
    "RUNGS",
    "Rung",
    "StoreFull",
    "StoreWriter",
    "StoredExplanation",
    "Verification",
    "default_path",
    "known_status",
    "open_store",
    "query_store",
    "rows",
]
