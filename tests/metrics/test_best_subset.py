import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explanations import Players
from benchmark.metrics.best_subset import best_subsets
from benchmark.metrics.perturbation import curve_scores, first_order_sets, greedy_chain, greedy_sets


def all_coalitions(n: int) -> np.ndarray:
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def random_players(n: int, seed: int) -> Players:
    rng = np.random.default_rng(seed)
    pairs = np.triu(rng.standard_normal((n, n)), 1)
    return Players(rng.standard_normal(n), pairs + pairs.T)


def area(sets, game) -> float:
    mif, lif = sets.curves(game(sets.coalitions))
    return curve_scores(mif, lif, variant="joint", chance=0.0)["area_joint"].value


def test_every_subset_by_hand() -> None:
    """Players a, b, c are worth 1, 2, 3; b and c together lose 4."""
    players = Players(np.array([1.0, 2.0, 3.0]), np.array([[0.0, 0, 0], [0, 0, -4.0], [0, -4.0, 0]]))
    sets = best_subsets(players.predict(all_coalitions(3)))
    assert sets.lif[0].astype(int).tolist() == [[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert sets.mif[0].astype(int).tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_no_search_on_the_surrogate_beats_all_subsets(seed: int) -> None:
    players = random_players(9, seed)
    assert players.pairs is not None
    best = area(best_subsets(players.predict(all_coalitions(9))), players.predict)
    greedy = area(greedy_sets(players.main, players.pairs), players.predict)
    nested = area(greedy_chain(players.main, players.pairs), players.predict)
    first = area(first_order_sets(players.first_order(), np.random.default_rng(0)), players.predict)
    assert best >= greedy - 1e-12
    assert greedy >= nested - 1e-12
    assert best > first


def test_the_best_subsets_of_an_additive_game_are_its_sorting() -> None:
    main = np.random.default_rng(1).standard_normal(14)
    found, sorting = best_subsets(all_coalitions(14) @ main), first_order_sets(main, np.random.default_rng(0))
    assert (found.lif == sorting.lif).all()
    assert (found.mif == sorting.mif).all()


def test_a_game_that_only_counts_its_players_orders_nothing() -> None:
    sets = best_subsets(all_coalitions(4).sum(axis=1) ** 2.0)
    assert sets.degenerate
    assert area(sets, lambda kept: kept.sum(axis=1) ** 2.0) == 0


@pytest.mark.parametrize("n", [0, 1, 3, 2**15])
def test_values_that_are_not_those_of_all_coalitions_of_a_tiny_game_are_refused(n: int) -> None:
    with pytest.raises(InvalidInput):
        best_subsets(np.zeros(n))


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidInput, match="values must be finite"):
        best_subsets(np.array([0.0, np.nan]))
