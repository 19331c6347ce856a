from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.errors import InvalidInput
from benchmark.metrics.base import METRICS
from benchmark.metrics.confidence import (
    KINDS,
    MARGIN,
    above_median,
    confidence,
    confidence_scores,
    drop,
    increase,
    soft_map,
    top_players,
)

WEIGHTS = np.array([0.4, 0.0, 0.1, -0.2])


def planted(masks: np.ndarray) -> np.ndarray:
    """A similarity that is linear in the mask: two patches help, one does nothing, one hurts."""
    return 0.1 + masks @ WEIGHTS


def scored(mask: np.ndarray) -> dict[str, float]:
    return confidence(float(planted(np.ones(4))), planted(mask[None]), "image")


def test_every_value_by_hand() -> None:
    assert drop(0.4, np.array([0.3, 0.5, 0.4])) == pytest.approx(100 * 0.1 / 3)
    assert increase(0.4, np.array([0.3, 0.5, 0.4])) == pytest.approx(100 / 3)
    chance = {"drop_text": 2.0, "increase_text": 30.0}
    scores = confidence_scores(0.4, np.array([0.3]), "text", chance, {"tie_fraction": 0.0})
    assert {name: (score.value, score.chance) for name, score in scores.items()} == {
        "drop_text": (pytest.approx(10.0), 2.0),
        "increase_text": (0.0, 30.0),
    }


def test_a_rise_within_round_off_is_no_increase() -> None:
    assert increase(0.4, np.array([0.4 + 0.9 * MARGIN])) == 0
    assert increase(0.4, np.array([0.4 + 1.1 * MARGIN])) == 100


def test_the_known_failure_an_all_ones_map_has_no_drop_and_no_increase() -> None:
    assert scored(np.ones(4)) == {"drop_image": 0.0, "increase_image": 0.0}


def test_the_known_failure_an_all_half_map_loses_half_of_everything() -> None:
    assert scored(np.full(4, 0.5)) == pytest.approx({"drop_image": 15.0, "increase_image": 0.0})


def test_the_oracle_is_best_and_random_maps_lie_between_it_and_its_opposite() -> None:
    best, worst = scored(soft_map(WEIGHTS)), scored(soft_map(-WEIGHTS))
    rng = np.random.default_rng(0)
    masks = np.stack([soft_map(rng.random(4)) for _ in range(400)])
    chance = confidence(float(planted(np.ones(4))), planted(masks), "image")
    found = np.array([list(scored(soft_map(rng.standard_normal(4))).values()) for _ in range(400)])
    assert best["drop_image"] == 0
    assert best["increase_image"] == 100
    assert best["drop_image"] < chance["drop_image"] < worst["drop_image"]
    assert best["increase_image"] > chance["increase_image"] > worst["increase_image"]
    assert found[:, 0].min() >= best["drop_image"]


def test_random_maps_of_the_same_law_score_chance() -> None:
    rng = np.random.default_rng(1)
    draws = np.array([[scored(soft_map(rng.random(4)))[f"{name}_image"] for name in ("drop", "increase")] for _ in range(800)])
    first, second = draws[:400], draws[400:]
    error = 4 * draws.std(axis=0) * np.sqrt(2 / 400)
    assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < error).all()


@given(arrays(np.float64, st.integers(2, 9), elements=st.floats(-5, 5).map(lambda x: round(x, 3))), st.integers(-8, 8))
def test_positive_scaling_leaves_every_mask_alone(scores: np.ndarray, power: int) -> None:
    scaled = scores * 2.0**power
    assert (above_median(scores) == above_median(scaled)).all()
    if np.ptp(scores) > 0:
        assert soft_map(scaled) == pytest.approx(soft_map(scores), abs=1e-12)


def test_a_shift_leaves_the_soft_map_alone_but_a_bend_does_not() -> None:
    scores = np.array([[0.0, 1.0], [2.0, 4.0]])
    assert soft_map(scores + 7) == pytest.approx(soft_map(scores))
    assert soft_map(scores**2).tolist() == [[0, 1 / 16], [1 / 4, 1]]


@pytest.mark.parametrize(("scores", "n_kept"), [([5.0], 0), ([1.0, 1.0, 1.0], 0), ([1.0, 2.0], 1), ([1.0, 2.0, 3.0], 1)])
def test_tokens_must_beat_the_median(scores: list[float], n_kept: int) -> None:
    assert above_median(np.array(scores)).sum() == n_kept


def test_medians_of_several_maps_are_their_own() -> None:
    assert above_median(np.array([[1.0, 2.0], [9.0, 8.0]])).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(("share", "n_kept"), [(0.1, 5), (0.25, 12), (0.5, 24), (0.001, 1)])
def test_a_share_of_49_patches(share: float, n_kept: int) -> None:
    orders = np.stack([np.random.default_rng(seed).permutation(49) for seed in range(3)])
    kept = top_players(orders, share)
    assert kept.sum(axis=1).tolist() == [n_kept] * 3
    assert all(set(np.flatnonzero(row)) == set(order[:n_kept]) for row, order in zip(kept, orders, strict=True))


def test_a_constant_map_has_no_soft_map() -> None:
    with pytest.raises(InvalidInput, match="constant"):
        soft_map(np.full((3, 3), 0.2))


@pytest.mark.parametrize(
    "function", [soft_map, above_median, lambda values: drop(0.1, values), lambda values: increase(0.1, values)]
)
@pytest.mark.parametrize("bad", [np.array([0.1, np.nan]), np.array([])], ids=["nan", "empty"])
def test_what_is_not_finite_or_empty_is_refused(function: Callable[[np.ndarray], object], bad: np.ndarray) -> None:
    with pytest.raises(InvalidInput):
        function(bad)


def test_the_controls_are_among_the_known_failures() -> None:
    for name in ("drop_image", "increase_image"):
        assert "all-ones" in METRICS[name].known_failures
        assert "all-half" in METRICS[name].known_failures
    assert {METRICS[f"drop_{kind}"].better for kind in KINDS} == {"lower"}
    assert {METRICS[f"increase_{kind}"].better for kind in KINDS} == {"higher"}
