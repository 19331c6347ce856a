"""What leaves add up to, and ProxySHAP on top of it."""

import sys

import numpy as np
import pytest

from benchmark.errors import BenchmarkError, InvalidInput
from benchmark.explainers.exact import banzhaf, coalitions
from benchmark.explainers.fixlip import Fixlip
from benchmark.games.boosting import Leaf, fit_trees, leaf_interactions, leaves
from tests.planted_games import BilinearGame, NetworkGame

CHANCES = [0.3, 0.5, 0.7]


def predict(found, kept):
    total = np.zeros(len(kept))
    for leaf in found:
        meets = np.ones(len(kept), dtype=bool)
        for player, present in leaf.conditions.items():
            meets &= kept[:, player] == present
        total += leaf.value * meets
    return total


def random_leaves(n=6, n_leaves=40, depth=4, seed=0):
    rng = np.random.default_rng(seed)
    found = [Leaf(0.4, {})]
    for _ in range(n_leaves):
        chosen = rng.choice(n, size=rng.integers(1, depth + 1), replace=False)
        found.append(Leaf(float(rng.normal()), {int(player): bool(rng.integers(2)) for player in chosen}))
    return found


@pytest.fixture
def xgboost():
    return pytest.importorskip("xgboost", reason="ProxySHAP is the boost extra: pip install 'xlip-bench[boost]'")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("p", CHANCES)
def test_leaves_have_the_coefficients_of_the_game_that_they_add_up_to(p, order):
    found = random_leaves()
    rows = coalitions(6)
    expected = banzhaf(rows, predict(found, rows), p, order)
    fitted = leaf_interactions(found, 6, p, order=order)
    assert fitted.empty == pytest.approx(expected.empty, abs=1e-12)
    assert fitted.main == pytest.approx(expected.main, abs=1e-12)
    if order == 2:
        assert fitted.pairs == pytest.approx(expected.pairs, abs=1e-12)


def test_saved_trees_are_read_without_contradictory_paths():
    tree = {  # player 2 out: 1; in: ask player 2 again, which cannot be out any more
        "left_children": [1, -1, 3, -1, -1],
        "right_children": [2, -1, 4, -1, -1],
        "split_indices": [2, 0, 2, 0, 0],
        "split_conditions": [1.0, 1.0, 0.5, 99.0, 2.0],
    }
    for base in ("5E-1", "[5E-1]"):
        saved = {
            "learner": {"learner_model_param": {"base_score": base}, "gradient_booster": {"model": {"trees": [tree]}}},
        }
        assert leaves(saved)[0] == Leaf(0.5, {})
        assert sorted(leaf.value for leaf in leaves(saved)) == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("depth", [3, 6])
def test_leaves_predict_what_the_ensemble_predicts(xgboost, depth):
    game = NetworkGame(grid=(2, 2), n_tokens=3)
    rows = coalitions(7)
    found = fit_trees(rows, game.values(rows), n_trees=60, seed=0, depth=depth)
    settings = {"learning_rate": 0.05, "max_depth": depth, "reg_lambda": 5, "nthread": 1, "verbosity": 0}
    data = xgboost.DMatrix(rows.astype(np.float32), label=game.values(rows))
    theirs = xgboost.train(settings, data, num_boost_round=60).predict(data)
    assert predict(found, rows) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("p", CHANCES)
def test_proxyshap_approaches_the_exact_interactions_of_an_enumerated_game(xgboost, p):
    game = BilinearGame(grid=(2, 2), n_tokens=3)
    rows = coalitions(7)
    expected = banzhaf(rows, game.values(rows), p, 2)
    explain = Fixlip(estimator="proxyshap", p=p, image_budget=16, text_budget=8, n_trees=1500).explain_game
    explanation = explain(game, np.random.default_rng(0))
    scale = np.abs(expected.pairs).max()
    assert explanation.players.pairs == pytest.approx(expected.pairs, abs=0.05 * scale)
    # The penalty of the leaves shrinks what few rows speak for: at p of 0.7 singles, which live near the empty coalition.
    assert explanation.players.main == pytest.approx(expected.main, abs=0.1 * np.abs(expected.main).max())
    assert explanation.predict(rows) == pytest.approx(game.values(rows), abs=0.05 * np.ptp(game.values(rows)))


def test_proxyshap_gives_the_same_bytes_for_a_seed_and_first_order_alone_on_request(xgboost):
    explainer = Fixlip(estimator="proxyshap", budget=200, n_trees=30)
    game = NetworkGame(grid=(2, 4), n_tokens=5)
    first, again = (explainer.explain_game(game, np.random.default_rng(3)).to_bytes() for _ in range(2))
    assert first == again
    other = Fixlip(estimator="proxyshap", budget=200, n_trees=30, order=1).explain_game(game, np.random.default_rng(3))
    assert other.players.pairs is None
    both = explainer.explain_game(game, np.random.default_rng(3))
    assert both.players.first_order(0.5) == pytest.approx(other.players.main, abs=1e-9)


def test_without_xgboost_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'xlip-bench\[boost\]'"):
        fit_trees(coalitions(3), np.zeros(8), n_trees=1, seed=0)


@pytest.mark.parametrize("wrong", [{"index": "shapley"}, {"pairs": "all"}, {"n_trees": 0}])
def test_proxyshap_refuses_what_trees_do_not_give(wrong):
    with pytest.raises(InvalidInput, match="proxyshap reads all pairs"):
        Fixlip(estimator="proxyshap", **wrong)
