"""Win rates count samples, ties half."""

import numpy as np
import pytest
from hypothesis import given, settings
from test_ranking import TABLES

from benchmark.ranking.wins import mean_wins, win_rate, win_table

BOARD = ("t", "e", "hit")


def test_a_tie_counts_half_and_so_does_a_rounding_error() -> None:
    assert win_rate(np.array([1.0, -1.0, 0.0, 1e-15])) == 0.5
    assert win_rate(np.array([1e-6, 1.0])) == 1.0


def test_lower_is_better_turns_the_rates_round() -> None:
    values = {"a": np.array([0.1, 0.2, 0.3, 0.4]), "b": np.array([0.2, 0.2, 0.4, 0.1])}
    assert win_table(BOARD, values, "higher").rates == ((None, 0.375), (0.625, None))
    assert win_table(BOARD, values, "lower").rates == ((None, 0.625), (0.375, None))
    assert mean_wins(values, "lower") == {"a": 0.625, "b": 0.375}


def test_only_shared_samples_count() -> None:
    values = {"a": np.array([1.0, np.nan, 0.0]), "b": np.array([0.0, 9.0, np.nan]), "c": np.array([np.nan, np.nan, 1.0])}
    table = win_table(BOARD, values, "higher")
    assert table.rates == ((None, 1.0, 0.0), (0.0, None, None), (1.0, None, None))
    assert table.n == ((2, 1, 1), (1, 2, 0), (1, 0, 1))


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_rates_of_a_pair_sum_to_1_and_mean_rates_average_to_a_half(values) -> None:
    table = win_table(BOARD, values, "higher")
    for i in range(len(values)):
        for j in range(i):
            assert table.rates[i][j] + table.rates[j][i] == pytest.approx(1)
    means = mean_wins(values, "higher")
    assert np.mean(list(means.values())) == pytest.approx(0.5)
    for i, name in enumerate(table.methods):
        assert means[name] == pytest.approx(np.mean([rate for rate in table.rates[i] if rate is not None]))


def test_a_method_alone_has_no_win_rate() -> None:
    assert mean_wins({"a": np.array([1.0])}, "higher") == {}
