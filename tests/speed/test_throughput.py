"""The ways of encoding masked images do the same work, and their operations are counted as executed."""

import numpy as np
import pytest
import torch

from benchmark.games.similarity import SimilarityGame
from benchmark.speed import naive
from benchmark.speed.encoders import Shape, random_encoder
from benchmark.speed.throughput import contenders, operations, peak
from benchmark.speed.timing import Clock

SHAPE = Shape(image=32, patch=8, width=32, depth=3, heads=2)


@pytest.fixture(scope="module")
def encoder():
    return random_encoder(SHAPE)


def test_the_naive_way_and_the_game_give_the_same_embeddings(encoder):
    ways = contenders(encoder, "float32", batch=5)
    theirs = torch.nn.functional.normalize(ways["naive"](), dim=-1).numpy()
    np.testing.assert_allclose(ways["mask_pixels"](), theirs, atol=1e-5)
    assert not np.allclose(ways["drop_tokens"](), theirs, atol=1e-3)


def test_naive_logits_are_the_values_of_the_game(encoder):
    pair = encoder.pair_from_tensors(torch.randn(1, 3, 32, 32), torch.tensor([[126, 5, 6, 7, 127]]))
    rng = np.random.default_rng(0)
    images, texts = rng.random((6, 16)) < 0.5, rng.random((4, 3)) < 0.5
    logits = naive.all_logits(encoder.model, pair.pixel_values, pair.input_ids, pair.token_positions, images, texts)
    values = SimilarityGame(encoder, pair).cross_values(images, texts)
    np.testing.assert_allclose(logits / encoder.logit_scale, values, atol=1e-5)


def test_dropping_half_of_the_tokens_executes_fewer_operations_and_the_librarys_are_those_of_the_formula(encoder):
    counted = {name: operations(way) / 5 for name, way in contenders(encoder, "float32", batch=5).items()}
    length, width = 17, 32
    block = length * 24 * width**2 + 4 * length**2 * width
    embedding = 2 * 16 * 3 * 64 * width + 2 * width * 512
    assert counted["library"] == pytest.approx(3 * block + embedding)
    assert counted["naive"] == counted["library"]
    assert counted["drop_tokens"] < 0.6 * counted["mask_pixels"] < 0.6 * counted["library"]


def test_the_peak_is_a_rate_that_a_computer_can_have():
    assert 1e8 < peak(Clock(torch.device("cpu"), 1), "float32") < 1e15
