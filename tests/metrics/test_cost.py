import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.base import METRICS
from benchmark.metrics.cost import cost_scores

COST = {"image_forwards": 50.0, "text_forwards": 6.5, "backwards": 2.0, "seconds": 0.25}


def test_passes_of_both_towers_are_added_and_kept_apart_beside() -> None:
    scores = cost_scores(COST)
    assert {name: score.value for name, score in scores.items()} == {
        "cost_forwards": 56.5,
        "cost_backwards": 2.0,
        "cost_seconds": 0.25,
    }
    assert scores["cost_forwards"].flags == {"image_forwards": 50.0, "text_forwards": 6.5}
    assert {METRICS[name].better for name in scores} == {"lower"}


def test_a_cost_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seconds is missing"):
        cost_scores({name: value for name, value in COST.items() if name != "seconds"})
    for wrong in (-1.0, float("nan")):
        with pytest.raises(InvalidInput, match="at least 0"):
            cost_scores(COST | {"backwards": wrong})
