"""Words to region and region to words, on explanations made by hand."""

import numpy as np
import pytest

from benchmark.data.base import Phrase, Region, Sample
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS
from benchmark.metrics.spans import SPANS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.span_protocol import TO_REGION, Spans
from tests.small_encoders import huggingface_clip_encoder, picture

TEXT = "a red star left of the green circle"
STAR, CIRCLE = (2, 10), (23, 35)
LEFT, RIGHT = np.array([[4.0, 0.0, 20.0, 20.0]]), np.array([[28.0, 20.0, 44.0, 40.0]])


@pytest.fixture(scope="module")
def encoder():
    return huggingface_clip_encoder()


def sample(*phrases: tuple[tuple[int, int], np.ndarray], text: str = TEXT) -> Sample:
    found = tuple(Phrase(span=span, region=Region(boxes=boxes)) for span, boxes in phrases)
    return Sample(id="one", image=picture(), text=text, cluster="one", phrases=found)


@pytest.fixture
def scene(encoder) -> Evaluation:
    return Evaluation(encoder, sample((STAR, LEFT), (CIRCLE, RIGHT)))


def truth(evaluation: Evaluation) -> Explanation:
    pair = evaluation.pair
    cross = np.zeros((*evaluation.encoder.patch_grid, pair.n_tokens))
    for phrase in evaluation.sample.phrases:
        for token in pair.tokens_of(phrase.span):
            cross[:, :, token] = pair.coverage(phrase.region)
    return Explanation(cross=cross)


def test_the_truth_is_found_in_both_directions(scene):
    scores = Spans().score(truth(scene), scene)
    assert set(scores) == set(Spans().metrics) == {*SPANS, *TO_REGION} <= set(METRICS)
    assert {name: score.value for name, score in scores.items()} == pytest.approx(dict.fromkeys(scores, 1.0))
    assert scores["span_hit"].flags["region_blind"] == scores["pga_argmax"].flags["token_blind"] == 0
    assert scores["span_hit"].flags["phrases"] == 2


def test_words_of_the_other_phrase_are_wrong(scene):
    swapped = truth(scene).cross[::-1, ::-1]  # each phrase's tokens now speak to the other corner
    scores = Spans().score(Explanation(cross=np.ascontiguousarray(swapped)), scene)
    assert scores["span_hit"].value == scores["pga_argmax"].value == 0
    assert scores["span_energy"].value < scores["span_energy"].chance


def test_chance_of_the_transpose_is_the_share_of_tokens(scene):
    chance = Spans().chance(scene)
    assert chance["span_hit"] == chance["span_energy"] == pytest.approx(2 / 8)
    constant = Explanation(cross=np.ones((*scene.encoder.patch_grid, 8)))
    for name, score in Spans().score(constant, scene).items():
        assert score.degenerate
        assert score.value == pytest.approx(chance[name])


def test_a_text_map_is_scored_for_every_region_and_said_to_be_blind(scene):
    text = np.zeros(scene.pair.n_tokens)
    text[list(scene.pair.tokens_of(STAR))] = 1.0
    scores = Spans().score(Explanation(text=text), scene)
    assert scores["span_hit"].value == 0.5
    assert scores["span_hit"].flags["region_blind"] == 1
    assert isinstance(scores["pga_argmax"], str)


def test_an_image_map_has_no_words(scene):
    scores = Spans().score(Explanation(image=np.eye(*scene.encoder.patch_grid)), scene)
    assert all(isinstance(scores[name], str) for name in SPANS)
    assert scores["pga_argmax"].flags["token_blind"] == 1


def test_a_phrase_that_is_nearly_the_whole_text_is_left_out(encoder):
    whole = Evaluation(encoder, sample(((0, 8), LEFT), text="red star"))
    assert Spans().excluded(whole)
    assert not Spans(max_share=1.0).excluded(whole)
    assert not Spans().excluded(Evaluation(encoder, sample(((2, 10), LEFT), text="a red star")))


def test_random_scores_are_at_chance(scene):
    rng = np.random.default_rng(0)
    grid = (*scene.encoder.patch_grid, scene.pair.n_tokens)
    found = [Spans().score(Explanation(cross=rng.standard_normal(grid)), scene) for _ in range(600)]
    for name in Spans().metrics:
        values = np.array([scores[name].value for scores in found])
        chance = np.mean([scores[name].chance for scores in found])
        assert abs(values.mean() - chance) < 4 * values.std() / np.sqrt(len(values)) + 0.01 * (name == "pga_majority")
