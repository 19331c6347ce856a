"""Ranks are estimates, and no method changes another's."""

import csv
import io
import json

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.ranking.boards import Row
from benchmark.ranking.bootstrap import Bootstrap, standings
from benchmark.ranking.tables import render, to_parquet

N = 12
SAMPLES = [f"s{i}" for i in range(N)]
CLUSTERS = [f"c{i // 2}" for i in range(N)]
TABLES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), min_size=N, max_size=N).map(np.array),
    min_size=2,
    max_size=6,
)


def rank(values, better="higher", n=500):
    return standings(Bootstrap(SAMPLES, CLUSTERS, n).resample(values), better)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.data())
def test_removing_a_method_swaps_no_two_others_and_changes_no_interval(values, data) -> None:
    gone = data.draw(st.sampled_from(sorted(values)))
    rest = {name: column for name, column in values.items() if name != gone}
    before, after = rank(values), rank(rest)
    for a in rest:
        for b in rest:
            assert (before[a].rank < before[b].rank) == (after[a].rank < after[b].rank)
    full, less = (Bootstrap(SAMPLES, CLUSTERS, 500).resample(table) for table in (values, rest))
    assert all(full[name].interval == less[name].interval and full[name].mean == less[name].mean for name in rest)


@settings(max_examples=30, deadline=None)
@given(TABLES, st.permutations(range(N)))
def test_the_order_of_samples_changes_nothing(values, order) -> None:
    shuffled = Bootstrap([SAMPLES[i] for i in order], [CLUSTERS[i] for i in order], 500)
    mixed = shuffled.resample({name: column[list(order)] for name, column in values.items()})
    straight = Bootstrap(SAMPLES, CLUSTERS, 500).resample(values)
    assert all(mixed[name].interval == straight[name].interval for name in values)


@settings(max_examples=30, deadline=None)
@given(TABLES)
def test_standings_are_consistent(values) -> None:
    found = rank(values)
    assert sum(row.p_best for row in found.values()) == pytest.approx(1)
    for row in found.values():
        assert 1 <= row.rank_low <= row.rank_high <= len(values)
    leaders = [name for name, row in found.items() if row.rank == 1]
    assert all(found[name].tie_group == 1 for name in leaders)
    groups = [row.tie_group for row in found.values()]
    assert groups == sorted(groups)
    assert set(groups) == set(range(1, max(groups) + 1))
    assert [row.rank for row in found.values()] == sorted(row.rank for row in found.values())


def test_lower_is_better_turns_the_order_round() -> None:
    values = {"a": np.full(N, 0.2), "b": np.full(N, 0.8)}
    assert rank(values)["b"].rank == rank(values, "lower")["a"].rank == 1


def test_equal_methods_share_rank_and_group_and_different_ones_do_not() -> None:
    noise = np.random.default_rng(0).normal(size=N) / 100
    found = rank({"a": 0.5 + noise, "b": 0.5 + noise[::-1], "same": 0.5 + noise, "low": noise})
    assert found["a"].rank == found["same"].rank
    assert found["a"].tie_group == found["same"].tie_group == found["b"].tie_group == 1
    assert (found["low"].rank, found["low"].tie_group, found["low"].rank_low) == (4, 2, 4)


def test_a_group_reaches_down_to_the_last_method_not_told_apart_from_its_best() -> None:
    noise = np.random.default_rng(0).normal(size=N)
    even = {"best": 1 + 0.01 * noise, "close": 0.9 + 0.01 * noise, "last": 0.1 + 0.01 * noise}
    found = rank({**even, "noisy": 0.8 + noise[::-1]})
    groups = [found[name].tie_group for name in ("best", "close", "noisy", "last")]
    assert found["noisy"].rank == 3
    assert groups == [1, 1, 1, 2]  # the noisy third may be as good as the first, though the second is told apart from it


def test_resampling_keeps_the_samples_of_one_image_together() -> None:
    values = {"a": np.repeat(np.random.default_rng(0).normal(size=N // 2), 2)}
    paired = Bootstrap(SAMPLES, CLUSTERS).resample(values)["a"].interval
    single = Bootstrap(SAMPLES, SAMPLES).resample(values)["a"].interval
    assert paired[1] - paired[0] > 1.2 * (single[1] - single[0])


def test_intervals_from_few_images_are_wide_enough() -> None:
    rng = np.random.default_rng(11)
    n, trials = 8, 1000
    bootstrap = Bootstrap([str(i) for i in range(n)], [str(i) for i in range(n)], n_resamples=2000)
    intervals = [bootstrap.resample({"a": rng.normal(size=n)})["a"].interval for _ in range(trials)]
    share = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.915 <= share <= 0.965  # plain percentiles of 8 values cover about 88 %


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    n, trials = 100, 400
    samples = [f"s{i}" for i in range(n)]
    bootstrap = Bootstrap(samples, samples, 1000)
    intervals = [bootstrap.resample({"a": rng.normal(size=n)})["a"].interval for _ in range(trials)]
    share = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.92 <= share <= 0.975  # 95 %, three standard errors of 400 trials, and the percentile interval's small bias


def row(method: str, rank: int | None, **fields) -> Row:
    board = {"task": "t_1", "task_version": 1, "model": "e", "metric": "hit", "better": "higher", "unit": "", "track": ""}
    numbers = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 8, "n_samples": 8, "n_failed": 0, "n_degenerate": 0, "n_excluded": 0}
    place = {"rank": rank, "rank_low": rank, "rank_high": rank, "tie_group": rank, "state": "ranked" if rank else "partial"}
    return Row(**{**board, **numbers, **place, "method": method, "method_version": 1, **fields})


def test_every_format_shows_every_method() -> None:
    rows = [row("a[p=1]", 1), row("b|c", 2, n_failed=3, reason="too big"), row("d", None, n=4)]
    assert [item["method"] for item in json.loads(render(rows, "json"))] == ["a[p=1]", "b|c", "d"]
    assert [item["tie_group"] for item in csv.DictReader(io.StringIO(render(rows, "csv")))] == ["1", "2", ""]
    text = render(rows, "text")
    assert "failed on 3, counted as chance: too big" in text
    assert "4 of 8" in text
    assert r"b\|c" in render(rows, "markdown")
    latex = render(rows, "latex")
    assert r"t\_1" in latex
    assert r"\textbf{a[p=1]}" in latex
    assert render([], "json") == "[]"


def test_a_method_below_a_control_is_marked_in_every_table() -> None:
    rows = [row("a", 1), row("random", 2), row("b", 3, below=("random",))]
    for form, sign in (("text", "b †"), ("markdown", "b †"), ("latex", r"b \dag{}")):
        assert sign in render(rows, form)
        assert "below random" in render(rows, form) or form == "latex"
    assert [item["below"] for item in csv.DictReader(io.StringIO(render(rows, "csv")))] == ["", "", "random"]


def test_parquet_holds_every_field_of_every_row(tmp_path) -> None:
    rows = [row("a", 1), row("it's", None, below=("random", "centre"))]
    to_parquet(rows, tmp_path / "board's.parquet")
    found = duckdb.read_parquet(str(tmp_path / "board's.parquet")).fetchall()
    assert len(found[0]) == len(json.loads(render(rows, "json"))[0])
    assert [line[4] for line in found] == ["a", "it's"]
