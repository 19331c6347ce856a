"""Mean ranks over blocks, with the numbers of the textbook."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, rankdata
from test_ranking import row

from benchmark.ranking.diagram import draw_track
from benchmark.ranking.tracks import friedman_p, nemenyi, track_tables

HEADLINES = {f"t{i}": "hit" for i in range(8)}


def rows(means, **fields):
    """Return one board per block, from ``means[block][method]``."""
    return [
        row(method, 1, task=f"t{i}", mean=mean, **{"track": "localisation", **fields})
        for i, block in enumerate(means)
        for method, mean in block.items()
    ]


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)]
)
def test_the_critical_difference_is_demsars(k, q):
    assert nemenyi(12, k) == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 12)), rel=5e-4)


def test_friedmans_statistic_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for n, k in ((5, 3), (12, 6)):
        ranks = rankdata(rng.normal(size=(n, k)) + np.arange(k) / 3, axis=1)
        chi = friedmanchisquare(*ranks.T).statistic
        f = (n - 1) * chi / (n * (k - 1) - chi)
        assert friedman_p(ranks) == pytest.approx(_sf(f, k - 1, (k - 1) * (n - 1)))


def _sf(f, a, b):
    from scipy.stats import f as f_distribution

    return f_distribution.sf(f, a, b)


def test_blocks_that_agree_entirely_leave_no_doubt_and_one_block_says_nothing():
    assert friedman_p(np.tile([1.0, 2.0, 3.0], (4, 1))) == 0.0
    assert friedman_p(np.array([[1.0, 2.0]])) is None
    assert nemenyi(1, 5) is None


def test_mean_ranks_share_ties_and_respect_the_direction():
    higher = track_tables(rows([{"a": 0.9, "b": 0.5, "c": 0.5}, {"a": 0.2, "b": 0.8, "c": 0.1}]), HEADLINES)[0]
    assert [(place.method, place.mean_rank, place.wins) for place in higher.places] == [
        ("a", 1.5, 0.75),
        ("b", 1.75, 0.625),
        ("c", 2.75, 0.125),
    ]
    lower = track_tables(rows([{"a": 0.9, "b": 0.5}, {"a": 0.8, "b": 0.1}], better="lower"), HEADLINES)[0]
    assert [place.method for place in lower.places] == ["b", "a"]


def test_a_method_missing_on_a_board_is_named_and_tracks_stay_apart():
    mixed = rows([{"a": 1.0, "b": 0.5}, {"a": 1.0}]) + rows([{"a": 1.0, "b": 2.0}], track="sanity")
    first, second = track_tables(mixed, HEADLINES)
    assert ([place.method for place in first.places], first.partial) == (["a"], ("b",))
    assert (second.track, second.partial) == ("sanity", ())


def test_only_the_headline_counts():
    assert track_tables(rows([{"a": 1.0}], metric="energy"), HEADLINES) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=2, max_size=8))
def test_groups_hold_exactly_what_is_within_the_critical_difference(blocks):
    table = track_tables(rows([dict(zip("abcd", map(float, block), strict=True)) for block in blocks]), HEADLINES)[0]
    means = [place.mean_rank for place in table.places]
    assert sum(means) == pytest.approx(10)
    for i in range(4):
        for j in range(i + 1, 4):
            together = any(first <= i and j <= last for first, last in table.groups)
            assert together == (means[j] - means[i] <= table.critical_difference)


def test_the_diagram_shows_every_method_and_every_group():
    table = track_tables(rows([{"a": 1.0, "b": 0.5, "c": 0.1}] * 3), HEADLINES)[0]
    (axis,) = draw_track(table).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c"]
    assert len(axis.lines) == 2 * 3 + len(table.groups)
