"""FIxLIP on grids of hundreds of patches: memory, budgets from the conditioning, one image side, and honest refusals."""

import json
import tracemalloc
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput
from benchmark.explainers import fixlip
from benchmark.explainers.fixlip import BOUND, ILL, Fixlip, fit
from benchmark.explainers.image_sides import BYTES, MOST, ImageSide, ImageSides
from benchmark.games.sampling import sample_coalitions
from tests.planted_games import BilinearGame, NetworkGame
from tests.small_encoders import huggingface_clip_encoder


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def planted():
    """576 patches: 24 x 24, as of L/14 at 336 px and of SigLIP 2 at 384 px."""
    return BilinearGame(grid=(24, 24), n_tokens=8)


def test_all_patch_token_pairs_of_576_patches_come_back_within_a_tenth_of_4_gigabytes(planted):
    tracemalloc.start()
    explanation = Fixlip().explain_game(planted, rng())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(explanation.cross.reshape(576, 8), planted.matrix, rtol=0, atol=1e-8)
    np.testing.assert_allclose(explanation.players.main, planted.main, rtol=0, atol=1e-8)
    assert peak < 400e6
    notes = explanation.notes
    assert notes["image_coalitions"] == 2597
    assert 1 < notes["text_condition"] < notes["image_condition"] <= BOUND == notes["condition_bound"]
    assert notes["condition_met"]
    assert explanation.to_bytes() == Fixlip().explain_game(planted, rng()).to_bytes()


def test_a_side_grows_by_quarters_until_it_is_well_conditioned(planted, monkeypatch):
    monkeypatch.setattr(fixlip, "PER_UNKNOWN", 1.0)
    short = Fixlip(image_budget=2048).explain_game(planted, rng()).notes
    assert not short["condition_met"]
    assert short["image_condition"] > BOUND
    notes = Fixlip().explain_game(planted, rng()).notes
    assert notes["image_coalitions"] == 2560
    assert notes["image_condition"] <= BOUND
    monkeypatch.setattr(fixlip, "MOST_STEPS", 0)
    assert Fixlip().explain_game(planted, rng()).notes["image_coalitions"] == 2048


def test_a_grown_side_starts_with_the_coalitions_of_the_smaller_one():
    small, large = sample_coalitions(576, 500, seed=7), sample_coalitions(576, 625, seed=7)
    np.testing.assert_array_equal(large.kept[:500], small.kept)


@pytest.mark.parametrize(
    ("n_patches", "n_tokens", "images", "texts"),
    [
        (49, 8, 2048, 74),
        (196, 75, 2048, 256),
        (256, 75, 2048, 256),
        (289, 75, 2048, 342),
        (576, 8, 2597, 74),
        (1024, 75, 4613, 342),
    ],
)
def test_default_budgets_follow_the_conditioning_above_256_patches_only(n_patches, n_tokens, images, texts):
    assert Fixlip().estimate_forwards(n_patches, n_tokens) == images + texts + 2


def test_a_given_budget_is_kept_with_a_warning_that_names_one_that_is_enough():
    game = NetworkGame(grid=(17, 17), n_tokens=6)
    with pytest.warns(UserWarning, match=r"300 coalitions of 289 image players .* image_budget=1305 brings it under 10"):
        notes = Fixlip(image_budget=300).explain_game(game, rng()).notes
    assert notes["image_coalitions"] == 300
    assert notes["image_condition"] > ILL
    assert not notes["condition_met"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Fixlip(image_budget=1305).explain_game(game, rng()).notes["condition_met"]
    with pytest.raises(InvalidInput, match="200 image coalitions are too few for 289 image players; give at least 290"):
        Fixlip(image_budget=200).explain_game(game, rng())


def test_pairs_that_auto_leaves_out_are_said_in_a_warning():
    images, texts = sample_coalitions(12, 60, seed=0), sample_coalitions(4, 16, seed=0)
    values = rng().normal(size=(60, 16))
    with pytest.warns(UserWarning, match="60 image coalitions do not identify the pairs of 12 image players"):
        _, _, pairs = fit(images.kept, texts.kept, values, images.weights, texts.weights)
    assert not pairs[:12, :12].any()


def test_pairs_that_the_coalitions_hardly_identify_are_said_in_a_warning():
    game = NetworkGame(grid=(4, 4), n_tokens=3)
    with pytest.warns(UserWarning, match=r"140 image coalitions hardly identify the pairs of 16 image players \(137 coeff"):
        Fixlip(pairs="all", image_budget=140).explain_game(game, rng())
    with pytest.warns(UserWarning, match=r"39 image coalitions hardly identify the pairs of 6 out of 16 patches \(32 coeff"):
        Fixlip(pairs="strongest", clique=9, image_budget=39).explain_game(game, rng())


def test_the_strongest_patches_have_pairs_beside_all_patch_token_pairs():
    game, budgets = NetworkGame(grid=(5, 5), n_tokens=4), {"image_budget": 500, "text_budget": 16}
    strongest = Fixlip(pairs="strongest", clique=12, **budgets).explain_game(game, rng())
    cross = Fixlip(pairs="cross", **budgets).explain_game(game, rng())
    np.testing.assert_allclose(strongest.cross, cross.cross, rtol=0, atol=1e-12)
    within = strongest.players.pairs[:25, :25]
    chosen = np.flatnonzero(within.any(axis=1))
    assert len(chosen) == strongest.notes["patches_with_pairs"] == 8
    assert (within[np.ix_(chosen, chosen)][~np.eye(8, dtype=bool)] != 0).all()
    order = Fixlip(order=1, **budgets).explain_game(game, rng())
    assert set(chosen) == set(np.argsort(-np.abs(order.image.ravel()))[:8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InvalidInput, match="30 image coalitions do not identify the pairs of 8 out of 25 patches"):
            Fixlip(pairs="strongest", clique=12, image_budget=30).explain_game(game, rng())


def test_the_strongest_of_all_patches_are_the_fit_of_all_pairs():
    game, budgets = NetworkGame(grid=(3, 3), n_tokens=4), {"image_budget": 300, "text_budget": 16}
    strongest = Fixlip(pairs="strongest", clique=60, **budgets).explain_game(game, rng())
    full = Fixlip(pairs="all", **budgets).explain_game(game, rng())
    np.testing.assert_allclose(strongest.players.pairs, full.players.pairs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(strongest.players.main, full.players.main, rtol=0, atol=1e-10)


def test_captions_of_one_image_share_its_576_patches():
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 1, "num_hidden_layers": 1}
    text = {"vocab_size": 64, "max_position_embeddings": 12, "bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 0}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=tower | text, vision_config=tower | {"image_size": 48, "patch_size": 2}, projection_dim=8)
    encoder = wrap_encoder(CLIPModel(config), name="576 patches")
    pixels = torch.randn(1, 3, 48, 48)
    explainer = Fixlip(p=0.1, removal="drop_tokens", image_budget=900)  # a tenth of the patches per image, to take little time
    pairs = [encoder.pair_from_tensors(pixels, torch.tensor([[62, *words, 63]])) for words in ((5, 6, 7), (8, 9, 10, 11))]
    found = explainer.explain(encoder, pairs[0], rng())
    found.check((24, 24), 3)
    assert found.notes["image_coalitions"] == 900
    before = encoder.costs.copy()
    explainer.explain(encoder, pairs[1], rng()).check((24, 24), 4)
    assert (encoder.costs - before).image_forwards == 0


def test_four_images_of_576_patches_at_so400m_width_are_kept_and_take_at_most_64_megabytes():
    drawn = sample_coalitions(576, Fixlip().estimate_forwards(576, 5) - 34)
    assert len(drawn) == 2597
    sides, made, encoder = ImageSides(), [], huggingface_clip_encoder()

    def make(key):
        made.append(key)
        return ImageSide(drawn, np.zeros((len(drawn), 1152), dtype=np.float32), np.zeros((1, 1152), dtype=np.float32))

    kept = [sides.find(encoder, key, lambda key=key: make(key)) for key in (0, 1, 2, 3, 0, 1, 2, 3)]
    assert made == [0, 1, 2, 3]
    assert MOST * kept[0].n_bytes < BYTES


def test_the_script_behind_the_page_measures_every_grid(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    script = import_module("large_grids")
    result = CliRunner().invoke(script.main, ["--quick"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert [row["patches"] for row in found] == [9, 9]
    assert all(row["condition_met"] and row["megabytes"] < 100 for row in found)
