"""Weighted Banzhaf interactions of boosted trees, read from their leaves (the proxy of ProxySHAP, any p).

On coalitions every leaf is a product of indicators, "all of these players are in, all of those are out", times a number,
so the exact coefficients of a whole ensemble are sums over its leaves.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import BenchmarkError
from benchmark.games.regression import Fit


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a tree adds to a coalition that meets ``conditions``: player to whether it is in."""

    value: float
    conditions: dict[int, bool]


def fit_trees(
    coalitions: Bool[np.ndarray, "coalition player"],
    values: Float[np.ndarray, " coalition"],
    *,
    n_trees: int,
    seed: int,
    depth: int = 3,
) -> list[Leaf]:
    """Fit boosted trees to a game's values, with the released settings and no weights; return their leaves."""
    try:
        import xgboost
    except ImportError:
        raise BenchmarkError("boosted trees need xgboost, which is not installed: pip install 'xlip-bench[boost]'") from None
    settings = {
        "objective": "reg:squarederror",
        "learning_rate": 0.05,
        "max_depth": depth,
        "reg_lambda": 5,
        "seed": seed % 2**31,
        "nthread": 1,  # with more, sums are taken in another order and the same seed gives other bytes
        "verbosity": 0,
    }
    data = xgboost.DMatrix(coalitions.astype(np.float32), label=values)
    booster = xgboost.train(settings, data, num_boost_round=n_trees)
    return leaves(json.loads(bytes(booster.save_raw("json"))))


def leaves(model: dict[str, Any]) -> list[Leaf]:
    """Return the leaves of a saved ensemble on 0/1 features; the base score is a leaf without conditions."""
    learner = model["learner"]
    base = str(learner["learner_model_param"]["base_score"]).strip("[]")  # a list since xgboost 3.1
    found = [Leaf(float(base), {})]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        found += _leaves_of(tree)
    return found


def _leaves_of(tree: dict[str, Any]) -> list[Leaf]:
    left, right, players, thresholds = (
        tree[key] for key in ("left_children", "right_children", "split_indices", "split_conditions")
    )
    found: list[Leaf] = []
    waiting: list[tuple[int, dict[int, bool]]] = [(0, {})]
    while waiting:
        node, conditions = waiting.pop()
        if left[node] == -1:
            found.append(Leaf(float(thresholds[node]), conditions))  # where a split has its threshold, a leaf has its value
            continue
        player = int(players[node])
        if not 0 < thresholds[node] <= 1:
            raise BenchmarkError(f"a tree splits a coalition at {thresholds[node]}; players are in (1) or out (0)")
        for child, present in ((left[node], False), (right[node], True)):  # left is "below the threshold"
            if conditions.get(player, present) == present:
                waiting.append((child, conditions | {player: present}))
    return found


def leaf_interactions(found: list[Leaf], n_players: int, p: float, *, order: int = 2) -> Fit:
    """Return the exact p-Banzhaf coefficients of a sum of leaves: faithful ones at order 2, values at order 1.

    With ``q_k`` the probability that a leaf's condition on ``k`` holds and ``s_k`` its sign, a leaf of value ``c`` adds
    ``c s_i s_j prod q`` (over the others) to a pair, ``c s_i prod q`` to the mean effect of a player and ``c prod q`` to
    the mean.
    """
    mean, first = 0.0, np.zeros(n_players)
    pairs = np.zeros((n_players, n_players))
    for leaf in found:
        players = list(leaf.conditions)
        chance = [p if leaf.conditions[player] else 1 - p for player in players]
        sign = [1.0 if leaf.conditions[player] else -1.0 for player in players]
        mean += leaf.value * float(np.prod(chance))
        for a, one in enumerate(players):
            rest = leaf.value * sign[a]
            for c, probability in enumerate(chance):
                rest *= 1.0 if c == a else probability
            first[one] += rest
            if order == 1:
                continue
            for b in range(a + 1, len(players)):
                both = rest / chance[b] * sign[b]
                pairs[one, players[b]] += both
                pairs[players[b], one] += both
    notes = {"leaves": len(found)}
    if order == 1:
        return Fit(mean - p * float(first.sum()), first, None, notes)
    empty = mean - p * float(first.sum()) + p**2 * float(pairs.sum()) / 2
    return Fit(empty, first - p * pairs.sum(axis=1), pairs, notes)
