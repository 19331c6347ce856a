"""Older stores become current ones, and folders of one data set stay apart."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from test_store import fill, result, run_record

from benchmark.errors import StoreError
from benchmark.ranking import leaderboard
from benchmark.store import StoreWriter, open_store, query_store
from benchmark.store.schema import SCHEMA_VERSION

OLDER = """
DROP TABLE verifications;
DROP VIEW results;
ALTER TABLE scores DROP COLUMN data_version;
CREATE VIEW results AS SELECT scores.* FROM scores;
UPDATE meta SET schema_version = 1;
"""


def test_a_store_of_schema_1_learns_the_version_of_the_data_of_every_score(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    fill(path, 3)
    with duckdb.connect(path) as connection:
        connection.execute(OLDER)
    fill(path, 1, run="r2", start=3)
    assert query_store(path, "SELECT schema_version FROM meta")[1] == [(SCHEMA_VERSION,)]
    assert query_store(path, "SELECT data_version FROM results")[1] == [("1",)] * 4


def test_a_store_of_schema_2_learns_to_keep_verifications_and_stays_so_without_a_new_row(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    fill(path, 3)
    with duckdb.connect(path) as connection:
        connection.execute("DROP TABLE verifications; UPDATE meta SET schema_version = 2")
    with pytest.raises(StoreError, match=r"older schema \(2\)"), open_store(path):
        pass
    with StoreWriter(path):
        pass
    assert query_store(path, "SELECT schema_version FROM meta")[1] == [(SCHEMA_VERSION,)]
    with open_store(path) as connection:
        (row,) = leaderboard(connection)
    assert (row.n, row.badge) == (3, "re-run")


def test_a_board_shows_one_version_of_the_data_the_one_scored_last(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    with StoreWriter(path) as store:
        store.begin(run_record())
        for version, items in (("1+old", (0, 1, 2)), ("1+new", (7, 8))):
            for item in map(result, items):
                sample = replace(item.sample, data_version=version)
                store.add(replace(item, sample=sample, explanation=replace(item.explanation, sample=sample)))
    with open_store(path) as connection:
        (row,) = leaderboard(connection)
    assert (row.n, row.n_samples) == (2, 2)
