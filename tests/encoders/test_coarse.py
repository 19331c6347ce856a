import numpy as np
import pytest
import torch

from benchmark.encoders.coarse import CoarseEncoder
from benchmark.errors import UnsupportedEncoder
from benchmark.explainers.occlusion import Occlusion
from benchmark.games.removal import IMAGE_REMOVALS
from benchmark.games.similarity import SimilarityGame
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture

TEXT = "a red star"


@pytest.fixture
def fine():
    return huggingface_clip_encoder()


def test_blocks_are_even_and_in_order(fine):
    coarse = CoarseEncoder(fine, (3, 2))
    assert (coarse.patch_grid, coarse.n_patches) == ((3, 2), 6)
    assert coarse.block_of_patch.reshape(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_leaves_with_all_of_its_patches(family):
    fine = FAMILIES[family]()
    coarse = CoarseEncoder(fine, (3, 3))
    large, small = (SimilarityGame(encoder, encoder.pair(picture(), TEXT)) for encoder in (fine, coarse))
    kept = np.random.default_rng(0).random((20, small.n_players)) < 0.5
    spread = np.hstack([kept[:, coarse.block_of_patch], kept[:, 9:]])
    assert small.values(kept) == pytest.approx(large.values(spread), abs=1e-5)


@pytest.mark.parametrize("removal", IMAGE_REMOVALS)
def test_every_operator_takes_blocks(fine, removal):
    coarse = CoarseEncoder(fine, (2, 2))
    pair = coarse.pair(picture(), TEXT)
    kept = torch.tensor([[True, False, False, True], [False, True, True, True]])
    with torch.no_grad():
        found = IMAGE_REMOVALS[removal](coarse, pair)(kept)
        expected = IMAGE_REMOVALS[removal](fine, pair)(kept[:, torch.from_numpy(coarse.block_of_patch)])
    torch.testing.assert_close(found, expected)


def test_a_grid_of_single_patches_changes_nothing(fine):
    coarse = CoarseEncoder(fine, (9, 9))
    assert coarse.patch_grid == fine.patch_grid
    assert coarse.similarity(coarse.pair(picture(), TEXT)) == pytest.approx(fine.similarity(fine.pair(picture(), TEXT)))


def test_its_passes_are_billed_to_the_original(fine):
    before = fine.costs.image_forwards, fine.costs.text_forwards
    coarse = CoarseEncoder(fine, (2, 2))
    coarse.similarity(coarse.pair(picture(), TEXT))
    assert coarse.costs is fine.costs is fine.text.costs
    assert (fine.costs.image_forwards, fine.costs.text_forwards) == pytest.approx((before[0] + 1, before[1] + 1))


def test_black_boxes_explain_blocks_and_others_say_that_they_cannot(fine):
    coarse = CoarseEncoder(fine, (2, 3))
    explanation = Occlusion().explain(coarse, coarse.pair(picture(), TEXT), np.random.default_rng(0))
    explanation.check((2, 3), 3)
    with pytest.raises(UnsupportedEncoder):
        _ = coarse.image
    with pytest.raises(UnsupportedEncoder, match="no tokens"):
        coarse.image_tokens(torch.zeros(1, 3, 32, 32))
