"""Half precision in the game: close to float32, unit embeddings, part of a result's key, and never by accident."""

import numpy as np
import pytest
import torch

from benchmark.encoders.precision import checked, computing
from benchmark.errors import InvalidInput
from benchmark.games.similarity import SimilarityGame
from benchmark.runner.encoders import EncoderSource
from benchmark.speed.encoders import Shape, random_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    return random_encoder(Shape(image=32, patch=8, width=32, depth=2, heads=2))


@pytest.fixture(scope="module")
def pair(encoder):
    return encoder.pair_from_tensors(torch.randn(1, 3, 32, 32), torch.tensor([[126, 5, 6, 7, 127]]))


@pytest.mark.parametrize("removal", ["mask_pixels", "drop_tokens", "blur", "impute"])
def test_half_precision_moves_values_by_its_rounding_and_keeps_embeddings_of_unit_length(encoder, pair, removal):
    coalitions = np.random.default_rng(0).random((20, 16)) < 0.5
    exact = SimilarityGame(encoder, pair, removal).embed_images(coalitions)
    rounded = SimilarityGame(encoder, pair, removal, precision="bfloat16").embed_images(coalitions)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.02
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)


def test_an_encoders_precision_is_its_games_default(encoder, pair, monkeypatch):
    assert SimilarityGame(encoder, pair).precision == "float32"
    monkeypatch.setattr(encoder, "precision", "bfloat16")
    assert SimilarityGame(encoder, pair).precision == "bfloat16"
    assert SimilarityGame(encoder, pair, precision="float32").precision == "float32"


def test_a_game_in_half_precision_leaves_no_setting_behind(encoder, pair):
    SimilarityGame(encoder, pair, precision="bfloat16").embed_images(np.ones((1, 16), dtype=bool))
    assert not torch.is_autocast_enabled("cpu")
    assert encoder.embed_images(pair.pixel_values).dtype == torch.float32


def test_tf32_is_set_for_a_block_on_cuda_alone():
    with pytest.raises(InvalidInput, match="tf32 needs a CUDA device"):
        checked("tf32", CPU)
    with pytest.raises(InvalidInput, match="known: float32, tf32, bfloat16, float16"):
        checked("half", CPU)
    before = torch.get_float32_matmul_precision()
    with computing("tf32", torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    torch.set_float32_matmul_precision("high")  # by another part of the process
    try:
        with computing("float32", torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_another_precision_is_another_revision_so_that_its_results_have_keys_of_their_own():
    plain = EncoderSource(name="embedded", device="cpu").load()
    half = EncoderSource(name="embedded", device="cpu", precision="bfloat16").load()
    assert half.revision == f"{plain.revision}+bfloat16"
    assert (plain.precision, half.precision) == ("float32", "bfloat16")


def test_coalitions_may_come_from_the_host_in_any_order(encoder, pair):
    coalitions = np.random.default_rng(1).random((30, 16)) < 0.5
    whole = SimilarityGame(encoder, pair, "drop_tokens", batch_size=64).embed_images(coalitions)
    parts = SimilarityGame(encoder, pair, "drop_tokens", batch_size=7).embed_images(coalitions[::-1])[::-1]
    np.testing.assert_allclose(whole, parts, atol=1e-5)
