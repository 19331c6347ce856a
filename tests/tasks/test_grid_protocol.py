"""The grid pointing game and label recognition on explanations made by hand."""

import numpy as np
import pytest

from benchmark.data.base import Phrase, Region, Sample
from benchmark.data.mosaics import Mosaics
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.grid_protocol import GridPointing, Recognition
from tests.small_encoders import picture, siglip_encoder

LABELS = ("star", "circle", "square", "red star")
BOXES = ((0, 0, 24, 20), (24, 0, 48, 20), (0, 20, 24, 40), (24, 20, 48, 40))
JOINT, CONDITIONAL = GridPointing(), GridPointing(labels="conditional")


@pytest.fixture(scope="module")
def encoder():
    return siglip_encoder()


def mosaic(encoder, *cells: int | None, box: tuple[int, int, int, int] | None = None) -> Evaluation:
    """A text with the label of each cell; ``None`` is "green", which is in no cell."""
    text, phrases = "", list[Phrase]()
    for cell in cells:
        word = "green" if cell is None else LABELS[cell]
        text += f" {word}" if text else word
        boxes = [] if cell is None else [box or BOXES[cell]]
        region = Region(boxes=np.array(boxes, dtype=float).reshape(-1, 4))
        phrases.append(Phrase(span=(len(text) - len(word), len(text)), region=region, label=word))
    return Evaluation(encoder, Sample(id="one", image=picture(), text=text, cluster="one", phrases=tuple(phrases)))


def truth(evaluation: Evaluation, outside: float = 0.0) -> Explanation:
    pair = evaluation.pair
    cross = np.full((*evaluation.encoder.patch_grid, pair.n_tokens), outside)
    for phrase in evaluation.sample.phrases:
        for token in pair.tokens_of(phrase.span):
            cross[:, :, token] += (1 - outside) * pair.coverage(phrase.region)
    return Explanation(cross=cross)


@pytest.mark.parametrize("cells", [(0,), (0, 1), (2, 0, 3), (0, 1, 2, 3)])
def test_the_truth_wins_with_any_labels_in_any_order(encoder, cells):
    evaluation = mosaic(encoder, *cells)
    scores = JOINT.score(truth(evaluation, outside=-1.0), evaluation)
    assert set(scores) == set(JOINT.metrics) <= set(METRICS)
    assert scores["pgr_joint"].value == scores["pgr_sign"].value == 1
    assert scores["pgr_joint"].flags["labels"] == len(cells)
    assert JOINT.score(truth(evaluation), evaluation)["pgr_joint"].value == 1


def test_a_label_of_two_tokens_is_the_sum_of_both(encoder):
    evaluation = mosaic(encoder, 0, 3)
    cross = np.zeros((4, 4, 3))
    cross[:2, :2, 0] = 1.0
    cross[:2, :2, 1], cross[2:, 2:, 2] = -1.0, 3.0  # "red" speaks against the first cell, "star" for the fourth
    assert JOINT.score(Explanation(cross=cross), evaluation)["pgr_joint"].value == 1
    cross[2:, 2:, 1] = -2.0
    cross[:2, :2, 1] = 4.0
    # The fourth label's map is now 4 in the first cell and 1 in its own.
    assert JOINT.score(Explanation(cross=cross), evaluation)["pgr_joint"].value == pytest.approx((4 + 4) / (4 + 16 + 4))


def test_one_image_map_for_four_labels_is_capped_at_a_quarter(encoder):
    evaluation = mosaic(encoder, 0, 1, 2, 3)
    heat = np.random.default_rng(0).random((4, 4))
    score = JOINT.score(Explanation(image=heat, text=np.ones(5)), evaluation)["pgr_joint"]
    assert score.value == pytest.approx(0.25)
    assert score.flags["token_blind"] == 1
    assert score.flags["cap"] == 0.25


def test_a_conditional_map_is_not_capped(encoder):
    evaluation = mosaic(encoder, 2)
    heat = evaluation.pair.coverage(evaluation.sample.phrases[0].region)
    scores = CONDITIONAL.score(Explanation(image=heat), evaluation)
    assert set(scores) == set(CONDITIONAL.metrics) <= set(METRICS)
    assert scores["pgr_conditional"].value == scores["grid_localisation"].value == 1
    assert scores["pgr_conditional"].flags["cap"] == 1
    assert CONDITIONAL.excluded(mosaic(encoder, 0, 1))


def test_token_scores_count_on_both_sides_where_the_protocol_says_so(encoder):
    evaluation = mosaic(encoder, 0, 3)
    heat, text = np.zeros((4, 4)), np.array([2.0, 1.0, 1.0])
    heat[:2, :2] = 1.0
    explanation = Explanation(image=heat, text=text)
    assert JOINT.score(explanation, evaluation)["pgr_joint"].value == 4 / 8
    with_tokens = GridPointing(token_scores=True).score(explanation, evaluation)["pgr_joint"]
    assert with_tokens.value == (4 + 4) / (8 + 8)
    heat[0, 0] = 0.0
    heat[0, 2] = 1.0
    assert GridPointing(token_scores=True).score(explanation, evaluation)["pgr_joint"].value == (3 + 4) / (8 + 8)


def test_a_failure_counts_as_a_map_without_negative_scores(encoder):
    evaluation = mosaic(encoder, 0, 1)
    assert JOINT.chance(evaluation) == {"pgr_joint": 0.25, "pgr_sign": 0.25}
    constant = Explanation(cross=np.ones((4, 4, 2)))
    for name, score in JOINT.score(constant, evaluation).items():
        assert score.degenerate
        assert score.value == JOINT.chance(evaluation)[name]


def test_what_is_no_mosaic_is_excluded(encoder):
    assert "cell" in JOINT.excluded(mosaic(encoder))
    assert "cell" in JOINT.excluded(mosaic(encoder, 0, box=(0, 0, 8, 8)))
    assert "cell" in JOINT.excluded(mosaic(encoder, 0, 1, box=(0, 0, 24, 20)))
    assert "coarse" in GridPointing(n=5).excluded(mosaic(encoder, 0))
    nowhere = mosaic(encoder, 0)
    phrase = Phrase(span=(90, 95), region=nowhere.sample.phrases[0].region)
    sample = Sample(id="one", image=picture(), text="star", cluster="one", phrases=(phrase,))
    assert "token" in JOINT.excluded(Evaluation(encoder, sample))


def test_a_text_explanation_points_nowhere(encoder):
    scores = JOINT.score(Explanation(text=np.ones(2)), mosaic(encoder, 0, 1))
    assert all("no map" in score for score in scores.values())


@pytest.mark.parametrize(("protocol", "cells"), [(JOINT, (0, 1, 2)), (CONDITIONAL, (1,))])
def test_random_scores_are_at_chance(encoder, protocol, cells):
    rng, evaluation = np.random.default_rng(1), mosaic(encoder, *cells)
    found = [protocol.score(Explanation(cross=rng.standard_normal((4, 4, len(cells)))), evaluation) for _ in range(600)]
    for name in protocol.metrics:
        values = np.array([scores[name].value for scores in found])
        assert found[0][name].chance == (0.25 if name == "grid_localisation" else 0.5)
        assert abs(values.mean() - found[0][name].chance) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("view", ["captions", "labels"])
def test_the_generated_mosaics_are_played_on_any_grid(encoder, view):
    protocol = JOINT if view == "captions" else CONDITIONAL
    for sample in Mosaics().samples(view, 4):
        evaluation = Evaluation(encoder, sample)
        assert protocol.excluded(evaluation) is None
        assert protocol.score(truth(evaluation), evaluation)[protocol.metrics[0]].value == 1


def test_labels_in_the_image_are_recognised(encoder):
    evaluation = mosaic(encoder, 0, None, 1)
    assert Recognition().score(truth(evaluation), evaluation)["recognition_ap"].value == 1
    cross = np.zeros((4, 4, 3))
    cross[0, 0, 1], cross[:, :, 0], cross[:, :, 2] = 9.0, 1.0, 1.0
    explanation = Explanation(cross=cross)
    assert Recognition().score(explanation, evaluation)["recognition_ap"].value == pytest.approx(2 / 3)
    assert Recognition(pool="mean").score(explanation, evaluation)["recognition_ap"].value == 1


def test_words_are_recognised_without_patches(encoder):
    evaluation = mosaic(encoder, 0, None, 3)
    scores = Recognition().score(Explanation(text=np.array([2.0, 1.5, 1.0, 1.0])), evaluation)
    assert scores["recognition_ap"].value == 1
    assert isinstance(Recognition().score(Explanation(image=np.ones((4, 4))), evaluation)["recognition_ap"], str)
    assert Recognition().score(Explanation(text=np.ones(4)), mosaic(encoder, 0, None, 1, 2))["recognition_ap"].degenerate


def test_recognition_needs_labels_of_both_kinds(encoder):
    for cells in ((0, 1), (None,), ()):
        evaluation = mosaic(encoder, *cells) if cells else mosaic_without_labels(encoder)
        assert Recognition().excluded(evaluation)
    assert Recognition().chance(mosaic(encoder, 0, None)) == {"recognition_ap": pytest.approx(0.75)}


def mosaic_without_labels(encoder) -> Evaluation:
    return Evaluation(encoder, Sample(id="one", image=picture(), text="a star", cluster="one"))
