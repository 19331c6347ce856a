"""Points read off maps made by hand."""

import numpy as np
import pytest

from benchmark.data.base import Phrase, Region, Sample
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.prompt_protocol import PointPrompts
from tests.small_encoders import picture, siglip_encoder

TEXT = "a red star"


@pytest.fixture(scope="module")
def corner() -> Evaluation:
    """Squashed to 4 x 4 patches of 12 x 10 original pixels; the phrase is about the two at the top left."""
    region = Region(boxes=np.array([[0.0, 0.0, 24.0, 10.0]]))
    phrase = Phrase(span=(2, 10), region=region)
    return Evaluation(siglip_encoder(), Sample(id="one", image=picture(), text=TEXT, cluster="one", phrases=(phrase,)))


def heat(*places: tuple[int, int], low: tuple[int, int] = (3, 3)) -> Explanation:
    scores = np.linspace(0.1, 0.2, 16).reshape(4, 4)
    for place in places:
        scores[place] = 1.0 - 0.01 * place[1]
    scores[low] = -1.0
    return Explanation(image=scores)


def test_points_on_the_object_and_beside_it_are_right(corner):
    scores = PointPrompts().score(heat((0, 0)), corner)
    assert set(scores) == set(PointPrompts().metrics) <= set(METRICS)
    assert [score.value for score in scores.values()] == pytest.approx([1, 1, 1])
    wrong = PointPrompts().score(heat((2, 2), low=(0, 1)), corner)
    assert [score.value for score in wrong.values()] == pytest.approx([0, 0, 0])


def test_settings_reach_the_points(corner):
    two = heat((0, 0), (2, 2))
    assert PointPrompts().score(two, corner)["prompt_positive"].value == pytest.approx(0.5)
    assert PointPrompts(n_points=1).score(two, corner)["prompt_positive"].value == pytest.approx(1)
    assert PointPrompts(threshold=0.999).score(two, corner)["prompt_positive"].value == pytest.approx(1)
    assert PointPrompts(min_distance=3.0).score(two, corner)["prompt_positive"].value == pytest.approx(1)


def test_a_constant_map_scores_what_a_failure_does(corner):
    constant = PointPrompts().score(Explanation(image=np.ones((4, 4))), corner)
    chance = PointPrompts().chance(corner)
    assert chance == pytest.approx({"prompt_accuracy": 0.5, "prompt_positive": 2 / 16, "prompt_negative": 14 / 16})
    for name, score in constant.items():
        assert score.degenerate
        assert score.value == pytest.approx(chance[name])


def test_a_text_explanation_has_no_points(corner):
    assert all("no map" in score for score in PointPrompts().score(Explanation(text=np.ones(3)), corner).values())
