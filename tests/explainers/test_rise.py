from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.errors import InvalidInput
from benchmark.explainers import rise
from benchmark.explainers.rise import Rise, upsampling
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, picture


class Additive:
    """An encoder whose cosine with the text is a weighted sum of its pixels' brightness: 1 everywhere, known weights."""

    patch_grid, n_patches, device = (4, 4), 16, torch.device("cpu")

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = torch.from_numpy(weights).float()

    def embed_images(self, pixel_values):
        shown = torch.nn.functional.avg_pool2d(pixel_values[:, 0], 8)
        return torch.stack([(shown * self.weights).sum(dim=(1, 2)), torch.zeros(len(shown))], dim=1)

    def embed_texts(self, input_ids):
        return torch.tensor([[1.0, 0.0]])


@pytest.fixture
def encoder():
    return huggingface_clip_encoder()


@pytest.fixture
def pair(encoder):
    return encoder.pair(picture(), "a red star")


def test_upsampling_rows_are_weights_of_neighbouring_cells():
    blend = upsampling(8, 4)
    assert blend.shape == (36, 8)
    assert np.allclose(blend.sum(axis=1), 1)
    assert (blend >= 0).all()
    assert ((blend > 0).sum(axis=1) <= 2).all()


def test_upsampling_mirrors_at_the_outer_cells():
    blend = upsampling(2, 2)  # six pixels, each a third of a cell wide: the first centre lies a third left of the first cell's
    assert blend[0] == pytest.approx([2 / 3, 1 / 3])
    assert blend[1] == pytest.approx([1, 0])
    assert upsampling(1, 4) == pytest.approx(np.ones((8, 1)))


def test_masks_show_the_share_p_on_average():
    masks = torch.cat(list(Rise(n_masks=1000, p=0.3)._masks((32, 24), np.random.default_rng(0), torch.device("cpu"))))
    assert masks.shape == (1000, 32, 24)
    assert float(masks.min()) >= -1e-6
    assert float(masks.max()) <= 1 + 1e-6
    error = 4 * np.sqrt(0.21 / (64 * 1000))  # four standard errors, if cells were all that varies
    assert float(masks.mean()) == pytest.approx(0.3, abs=2 * error)


@pytest.mark.parametrize("center", [False, True])
def test_rise_ranks_the_patches_of_an_additive_model(pair, center):
    weights = np.zeros((4, 4))
    weights[1, 2], weights[3, 0] = 1.0, -1.0
    white = replace(pair, pixel_values=torch.ones(1, 3, 32, 32))
    explainer = Rise(cells=4, center=center, text=False, n_masks=1500)
    image = explainer.explain(Additive(weights), white, np.random.default_rng(0)).image
    assert np.unravel_index(image.argmax(), (4, 4)) == (1, 2)
    assert np.unravel_index(image.argmin(), (4, 4)) == (3, 0)


def test_centring_removes_what_a_constant_score_leaves_behind(pair):
    class Constant(Additive):
        def embed_images(self, pixel_values):
            return torch.tensor([[0.25, 0.0]]).expand(len(pixel_values), -1)

    constant = Constant(np.zeros((4, 4)))
    plain, centred = (
        Rise(n_masks=200, text=False, center=center).explain(constant, pair, np.random.default_rng(0)).image
        for center in (False, True)
    )
    assert np.ptp(plain) > 0.005  # chance coverage, weighted by the constant
    assert np.abs(centred).max() < 1e-6


def test_scores_do_not_depend_on_the_batch(encoder, pair, monkeypatch):
    whole = explain(encoder, pair, "rise", n_masks=60)
    monkeypatch.setattr(rise, "BATCH", 7)
    parts = explain(encoder, pair, "rise", n_masks=60)
    assert parts.image == pytest.approx(whole.image, abs=1e-5)


def test_text_scores_are_the_estimator_over_token_masks(encoder, pair):
    from benchmark.games.similarity import SimilarityGame

    text = explain(encoder, pair, "rise", n_masks=4000, center=True).text
    kept = np.array(np.meshgrid(*[[False, True]] * 3)).reshape(3, -1).T  # every coalition of three tokens
    values = SimilarityGame(encoder, pair).cross_values(np.ones((1, 16), dtype=bool), kept)[0]
    exact = [np.cov(values, kept[:, token], ddof=0)[0, 1] / 0.25 for token in range(3)]
    assert text == pytest.approx(exact, abs=8 * values.std() / np.sqrt(2000))  # four standard errors
    assert explain(encoder, pair, "rise", n_masks=20, text=False).text is None


def test_impossible_parameters_are_refused():
    for wrong in ({"n_masks": 1}, {"cells": 0}, {"p": 1.0}):
        with pytest.raises(InvalidInput, match="rise needs"):
            Rise(**wrong)
