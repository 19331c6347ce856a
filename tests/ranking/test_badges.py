"""A badge says how far scores were checked, and never claims more than the store shows."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from test_store import fill, result, run_record

from benchmark.errors import InvalidInput, UnknownName
from benchmark.ranking import leaderboard
from benchmark.store import Rung, StoreWriter, Verification, open_store, query_store

CHECK = Verification(label="m", method_version=1, task="t", encoder="e", revision="", rung="re-run", n_units=4, n_agreeing=4)


def badge(path: Path) -> Rung:
    with open_store(path) as connection:
        (row,) = leaderboard(connection)
    return row.badge


def verify(path: Path, check: Verification, run: str = "v") -> None:
    with StoreWriter(path) as store:
        store.begin(run_record(run))
        store.verify(check)


def test_what_this_store_explained_and_scored_is_re_run(tmp_path: Path) -> None:
    fill(tmp_path / "store.duckdb", 3)
    assert badge(tmp_path / "store.duckdb") == "re-run"


def test_one_score_without_its_explanation_makes_all_self_reported(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    fill(path, 3)
    with StoreWriter(path) as store:
        store.begin(run_record("r2"))
        store.add(replace(result(3), explanation=None))
    assert badge(path) == "self-reported"


def test_maps_made_elsewhere_are_recomputed(tmp_path: Path) -> None:
    path, made = tmp_path / "store.duckdb", result(0)
    origin = replace(made.origin, label="external:mine")
    with StoreWriter(path) as store:
        store.begin(run_record())
        store.add(replace(made, origin=origin, explanation=replace(made.explanation, origin=origin)))
    assert badge(path) == "recomputed"


@pytest.mark.parametrize("field", ["label", "method_version", "task", "encoder", "revision"])
def test_a_verification_speaks_only_of_what_it_names(tmp_path: Path, field: str) -> None:
    path = tmp_path / "store.duckdb"
    fill(path, 2)
    verify(path, replace(CHECK, rung="recomputed", **{field: 2 if field == "method_version" else "other"}))
    assert badge(path) == "re-run"
    verify(path, replace(CHECK, rung="recomputed"), "w")
    assert badge(path) == "recomputed"


def test_the_newest_verification_counts_and_disagreement_confirms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    fill(path, 2)
    steps: list[tuple[Verification, Rung]] = [
        (replace(CHECK, rung="self-reported"), "self-reported"),
        (CHECK, "re-run"),
        (replace(CHECK, rung="recomputed"), "recomputed"),
        (replace(CHECK, n_agreeing=3), "self-reported"),
    ]
    for i, (check, expected) in enumerate(steps):
        verify(path, check, f"v{i}")
        assert badge(path) == expected


def test_a_verification_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    fill(path, 1)
    verify(path, replace(CHECK, tolerance=1e-6, evidence={"units": ["a"], "largest": 0.0}))
    (row,) = query_store(path, "SELECT * EXCLUDE created FROM verifications")[1]
    assert row == ("m", 1, "t", "e", "", "re-run", 4, 4, 1e-6, '{"largest":0.0,"units":["a"]}', "v")


def test_impossible_verifications_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="re-run"):
        replace(CHECK, rung="rerun")
    with pytest.raises(InvalidInput, match="5 of 4 units"):
        replace(CHECK, n_agreeing=5)
    fill(tmp_path / "store.duckdb", 1)
    with duckdb.connect(tmp_path / "store.duckdb") as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO verifications VALUES ('m', 1, 't', 'e', '', 'checked', 0, 0, NULL, '{}', 'r', now())")
