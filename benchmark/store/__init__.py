"""One DuckDB file that a run, queries, a second run and the site share; ``docs/store.md`` says how."""

from benchmark.store.paths import StoreFull, default_path
from benchmark.store.reader import known_status, open_store, query_store, rows
from benchmark.store.writer import StoredExplanation, StoreWriter

__all__ = ["StoreFull", "StoreWriter", "StoredExplanation", "default_path", "known_status", "open_store", "query_store", "rows"]
