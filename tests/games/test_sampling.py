"""The sampler draws the released rows, and its weights estimate the kernel."""

from itertools import product
from math import comb

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.games.sampling import FORCED_WEIGHT, sample_coalitions, split_budget


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
def test_seed_0_gives_the_released_rows_and_weights(golden, p):
    recorded = golden("clip_small_seed1")
    images = sample_coalitions(36, 2048, p=p, seed=0, legacy_weights=True)
    texts = sample_coalitions(7, 64, p=p, seed=0, legacy_weights=True)
    packed = recorded[f"fixlip_p{p}_image_coalitions"]
    np.testing.assert_array_equal(images.kept, np.unpackbits(packed, axis=1)[:, :36].astype(bool))
    np.testing.assert_array_equal(texts.kept, recorded[f"fixlip_p{p}_text_coalitions"])
    np.testing.assert_allclose(images.weights, recorded[f"fixlip_p{p}_image_weights"], rtol=1e-12)
    np.testing.assert_allclose(texts.weights, recorded[f"fixlip_p{p}_text_weights"], rtol=1e-12)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.7, 0.999])
@pytest.mark.parametrize("budget", [200, 250, 255])
def test_corrected_weights_sum_to_one_and_rows_are_distinct(p, budget):
    design = sample_coalitions(8, budget, p=p)
    assert design.weights.sum() == pytest.approx(1)
    assert len(np.unique(design.kept, axis=0)) == len(design) <= budget


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_a_budget_of_all_coalitions_enumerates_them_with_their_probability(n, p):
    design = sample_coalitions(n, 2**n + 5, p=p)
    assert {tuple(row) for row in design.kept} == set(product([False, True], repeat=n))
    sizes = design.kept.sum(axis=1)
    np.testing.assert_allclose(design.weights, p**sizes * (1 - p) ** (n - sizes), rtol=1e-12)
    assert design.n_draws == 0


def test_sizes_that_the_budget_covers_are_enumerated_from_the_border_inwards():
    design = sample_coalitions(7, 64, p=0.3)
    assert design.n_enumerated == comb(7, 0) + comb(7, 1) + comb(7, 2)
    assert design.kept[: design.n_enumerated].sum(axis=1).tolist() == [0] + 7 * [1] + 21 * [2]
    assert design.kept[design.n_enumerated :].sum(axis=1).min() == 3


def test_legacy_weights_overcount_what_was_drawn():
    assert sample_coalitions(7, 64, p=0.3, legacy_weights=True).weights.sum() == pytest.approx(1.647, abs=1e-3)


def test_shapley_starts_with_the_empty_and_the_full_coalition():
    design = sample_coalitions(12, 200, kernel="shapley")
    assert len(design) == 200
    assert design.kept[:2].sum(axis=1).tolist() == [0, 12]
    assert design.weights[:2].tolist() == [FORCED_WEIGHT, FORCED_WEIGHT]
    assert design.weights[2:].sum() == pytest.approx(1)
    full = sample_coalitions(6, 64, kernel="shapley")
    sizes = full.kept[2:].sum(axis=1)
    kernel = np.array([1 / comb(4, size - 1) for size in sizes])
    np.testing.assert_allclose(full.weights[2:], kernel / kernel.sum(), rtol=1e-12)


def test_the_same_seed_repeats_and_another_differs():
    first, again, other = (sample_coalitions(30, 100, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.kept, again.kept)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert (first.kept != other.kept).any()


def test_drawing_stops_where_the_last_coalitions_never_turn_up():
    design = sample_coalitions(8, 245, p=1e-9)
    assert len(design) <= 245
    assert design.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("n", [576, 1200])
def test_many_players_do_not_overflow(n):
    design = sample_coalitions(n, 64, p=0.5)
    assert len(design) == 64
    assert abs(design.kept.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("budget", "players", "split"),
    [
        (2**19, (49, 7), (5041, 104)),
        (2**21, (49, 10), (7084, 296)),
        (2**21, (196, 12), (23563, 89)),
        (2**15, (64, 8), (1424, 23)),
    ],
)
def test_a_total_budget_is_split_as_published(budget, players, split):
    assert split_budget(budget, *players) == split


def test_a_split_never_asks_for_more_than_all_coalitions():
    assert split_budget(2**19, 49, 3)[1] == 8
    assert split_budget(2**19, 4, 20)[0] == 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_players": 0, "budget": 4}, "at least one player"),
        ({"n_players": 5, "budget": 1}, "at least 2 coalitions"),
        ({"n_players": 5, "budget": 8, "p": 1.0}, "strictly between 0 and 1"),
        ({"n_players": 5, "budget": 8, "kernel": "owen"}, "no kernel is called 'owen'"),
    ],
)
def test_impossible_designs_are_refused(arguments, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        sample_coalitions(**arguments)
