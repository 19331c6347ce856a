"""What to do about a store that cannot be shown."""

from collections.abc import Mapping

import streamlit as st

from benchmark.site.access import Trouble, Unreadable
from benchmark.site.wording import plain

ADVICE: Mapping[Trouble, tuple[str, str, str]] = {
    "missing": (
        "There is no store yet",
        "A run makes one; this page looks again every few seconds. Or name another store.",
        "benchmark run --method grad_eclip,random --task 'scenes-*' --model embedded --limit 8\nbenchmark site --store FILE",
    ),
    "unfinished": (
        "The store was never published",
        "A run is at work, or one was killed before it published. Repeat its command; nothing is computed again.",
        "benchmark run ...  # the same command as before",
    ),
    "empty": (
        "The store is empty",
        "Its file holds no tables. Delete it, and run something into it.",
        "benchmark run --method grad_eclip,random --task 'scenes-*' --model embedded --limit 8",
    ),
    "older": (
        "The store is of an older version",
        "Any run on it brings it up to date; a run that has nothing to do will do.",
        "benchmark run --method random --task scenes-pointing --model embedded --limit 1 --store FILE",
    ),
    "newer": (
        "The store is of a newer version",
        "Update the benchmark where the site runs, then start the site again.",
        "pip install --upgrade xlip-bench",
    ),
    "foreign": (
        "This is another program's database",
        "It is a DuckDB file without the benchmark's tables. Name a store of the benchmark.",
        "benchmark site --store results/benchmark.duckdb",
    ),
    "damaged": (
        "The store cannot be read",
        "It is damaged, or no DuckDB file. Restore a copy, or delete it and repeat the last run.",
        "benchmark site --store results/benchmark.duckdb",
    ),
    "snapshot": (
        "This folder is no snapshot",
        "A snapshot holds `scores.parquet` and a manifest. Name a folder that `benchmark snapshot create` wrote, or a store.",
        "benchmark site --snapshot leaderboards/SUITE/VERSION",
    ),
}


def render(error: Unreadable) -> None:
    """Say what is wrong, and what to do."""
    title, advice, command = ADVICE[error.trouble]
    st.title(title)
    st.write(plain(error))
    st.write(advice)
    st.code(command, language="sh")
