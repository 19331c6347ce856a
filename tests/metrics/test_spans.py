import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.base import METRICS
from benchmark.metrics.spans import SPANS, tokens_of_region

INSIDE = np.array([0.0, 1.0, 1.0, 0.0, 0.0])


def test_a_region_adds_up_its_patches_by_their_share() -> None:
    cross = np.arange(12.0).reshape(2, 2, 3)
    tokens = tokens_of_region(cross, np.array([[1.0, 0.5], [0.0, 0.25]]))
    assert tokens.tolist() == [0 + 1.5 + 2.25, 1 + 2 + 2.5, 2 + 2.5 + 2.75]


def test_a_region_of_another_grid_and_bad_scores_are_refused() -> None:
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        tokens_of_region(np.ones((2, 2, 3)), np.ones((3, 2)))
    with pytest.raises(InvalidInput, match="1 of 12"):
        tokens_of_region(np.where(np.arange(12).reshape(2, 2, 3) == 5, np.nan, 1.0), np.ones((2, 2)))


def test_scores_by_hand() -> None:
    tokens = np.array([4.0, 3.0, 1.0, -2.0, 0.0])
    assert SPANS["span_energy"](tokens, INSIDE).value == 4 / 8
    assert SPANS["span_hit"](tokens, INSIDE).value == 0
    assert SPANS["span_average_precision"](tokens, INSIDE).value == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("name", SPANS)
def test_the_oracle_is_at_the_optimum_and_constant_tokens_at_chance(name: str) -> None:
    assert SPANS[name](INSIDE, INSIDE).value == METRICS[name].high
    score = SPANS[name](np.ones(5), INSIDE)
    assert score.degenerate
    assert score.value == score.chance
    if name != "span_average_precision":
        assert score.chance == 2 / 5


@pytest.mark.parametrize("name", SPANS)
def test_random_tokens_are_at_chance(name: str) -> None:
    rng = np.random.default_rng(0)
    scores = [SPANS[name](tokens_of_region(rng.standard_normal((4, 4, 5)), np.full((4, 4), 0.5)), INSIDE) for _ in range(2000)]
    values = np.array([score.value for score in scores])
    chance = np.mean([score.chance for score in scores])
    assert abs(values.mean() - chance) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("name", SPANS)
def test_an_empty_span_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="region"):
        SPANS[name](np.arange(5.0), np.zeros(5))
