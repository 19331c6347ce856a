"""Stores of several machines make one store, whatever the order, and say where they contradict each other."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_store import fill, result, run_record

from benchmark.cli import cli
from benchmark.errors import StoreError
from benchmark.store import StoreWriter, Verification, query_store
from benchmark.store.merge import merge

EVERYTHING = (
    "SELECT * FROM explanations ORDER BY unit_key",
    "SELECT * FROM scores ORDER BY score_key",
    "SELECT * FROM samples ORDER BY sample_id",
    "SELECT run_id FROM runs ORDER BY run_id",
    "SELECT * FROM verifications ORDER BY ALL",
)

SELF_REPORTED = Verification(label="m", method_version=1, task="t", encoder="e", revision="", rung="self-reported")


def content(path: Path) -> list:
    return [query_store(path, query)[1] for query in EVERYTHING]


def store_with(path: Path, *results, run: str) -> Path:
    with StoreWriter(path) as store:
        store.begin(run_record(run))
        for item in results:
            store.add(item)
        store.end("done")
    return path


def test_parts_merged_in_any_order_and_twice_equal_the_whole(tmp_path: Path) -> None:
    parts = []
    for i in range(3):
        parts.append(tmp_path / f"part{i}.duckdb")
        fill(parts[-1], 4, run=f"r{i}", start=3 * i)  # neighbours share one unit
        with StoreWriter(parts[-1]) as store:
            store.begin(run_record(f"v{i}"))
            store.verify(replace(SELF_REPORTED, evidence={"part": i}))
    merged = []
    for order in permutations(parts):
        target = tmp_path / f"{'-'.join(part.stem for part in order)}.duckdb"
        merge(target, order)
        first = content(target)
        assert [(item.explanations, item.scores, item.verifications) for item in merge(target, order)] == [(0, 0, 0)] * 3
        assert content(target) == first
        merged.append(first)
    assert all(found == merged[0] for found in merged)
    assert len(merged[0][0]) == 10
    assert len(merged[0][4]) == 3


def test_an_explanation_stands_before_a_failure(tmp_path: Path) -> None:
    good = result(0)
    bad = replace(good, explanation=replace(good.explanation, status="failed", payload=None, reason="out of memory"))
    bad = replace(bad, scores=(replace(good.scores[0], status="failed", value=0.1, reason="out of memory"),))
    stores = [store_with(tmp_path / "bad.duckdb", bad, run="a"), store_with(tmp_path / "good.duckdb", good, run="b")]
    for order in (stores, stores[::-1]):
        target = tmp_path / f"of_{order[0].stem}.duckdb"
        assert not any(item.conflicts for item in merge(target, order))
        assert query_store(target, "SELECT status FROM explanations")[1] == [("ok",)]
        assert query_store(target, "SELECT status, value FROM scores")[1] == [("ok", 0.5)]


def test_a_contradiction_is_named_and_what_stays_is_the_same_in_any_order(tmp_path: Path) -> None:
    one = result(0)
    other = replace(one, explanation=replace(one.explanation, payload=b"other"), scores=(replace(one.scores[0], value=0.9),))
    stores = [store_with(tmp_path / "one.duckdb", one, run="a"), store_with(tmp_path / "other.duckdb", other, run="b")]
    kept = []
    for order in (stores, stores[::-1]):
        target = tmp_path / f"of_{order[0].stem}.duckdb"
        found = merge(target, order)
        assert [sentence.split()[0] for sentence in found[1].conflicts] == ["explanation", "score"]
        kept.append(content(target))
        payload, value = query_store(target, "SELECT payload, value FROM explanations JOIN scores USING (unit_key)")[1][0]
        assert (payload, value) in ((b"npz", 0.5), (b"other", 0.9))  # never one machine's score of the other's explanation
    assert kept[0] == kept[1]


def test_what_cannot_be_merged_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    target, good = tmp_path / "all.duckdb", tmp_path / "good.duckdb"
    fill(good, 2)
    (tmp_path / "text.duckdb").write_text("no store")
    for wrong in (tmp_path / "absent.duckdb", tmp_path / "text.duckdb", target):
        if wrong == target:
            fill(target, 1)
        with pytest.raises(StoreError):
            merge(target, [good, wrong])
        assert wrong == target or not target.exists()
    assert query_store(target, "SELECT count(*) FROM explanations")[1] == [(1,)]


def test_the_command_counts_and_exits_with_1_on_contradictions(tmp_path: Path) -> None:
    fill(tmp_path / "a.duckdb", 2)
    store_with(tmp_path / "b.duckdb", result(0, 0.7), run="b")
    target = str(tmp_path / "all.duckdb")
    fine = CliRunner().invoke(cli, ["merge", str(tmp_path / "a.duckdb"), "--store", target, "--json"])
    assert (fine.exit_code, json.loads(fine.stdout)[0]["explanations"]) == (0, 2)
    clash = CliRunner().invoke(cli, ["merge", str(tmp_path / "b.duckdb"), "--store", target])
    assert clash.exit_code == 1
    assert "hit, m, s0" in clash.stderr
