import numpy as np
import pytest
import torch
from shapiq import KernelSHAP

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput, UnknownName
from benchmark.games.similarity import SimilarityGame
from tests.encoders.small_encoders import clip_ids, hf_clip, hf_siglip, pixels, siglip_ids


def game_on(model=hf_clip, *arguments, **options):
    clip = model is hf_clip
    encoder = wrap_encoder(model())
    pair = encoder.pair_from_tensors(pixels(32 if clip else 30, 1), clip_ids((5,)) if clip else siglip_ids((5,)))
    return SimilarityGame(encoder, pair, *arguments, **options)


def coalitions(n_players, n=40):
    return np.random.default_rng(0).random((n, n_players)) < 0.5


def test_the_value_of_everything_is_the_similarity_and_nothing_is_subtracted():
    game = game_on()
    everything = np.ones(game.n_players, dtype=bool)
    assert game.values(everything)[0] == pytest.approx(game.encoder.similarity(game.pair), abs=1e-6)
    assert abs(game.values(~everything)[0]) > 1e-3
    assert game(~everything)[0] == game.values(~everything)[0]


def test_a_logit_is_the_scaled_cosine_plus_the_bias():
    cosine, logit = game_on(hf_siglip), game_on(hf_siglip, value="logit")
    kept = coalitions(cosine.n_players)
    expected = cosine.encoder.logit_scale * cosine.values(kept) - 3.0
    np.testing.assert_allclose(logit.values(kept), expected, atol=1e-5)


@pytest.mark.parametrize("removal", ["mask_pixels", "drop_tokens"])
@pytest.mark.parametrize("model", [hf_clip, hf_siglip])
def test_the_batch_size_changes_nothing(model, removal):
    kept = coalitions(game_on(model).n_players)
    reference = game_on(model, removal).values(kept)
    for batch_size in (1, 7, 64):
        np.testing.assert_allclose(game_on(model, removal, batch_size=batch_size).values(kept), reference, atol=1e-5)


def test_cross_values_are_the_values_of_every_pair():
    game = game_on()
    images, texts = coalitions(game.n_patches, 6), coalitions(game.n_tokens, 4)
    joint = np.concatenate([np.repeat(images, 4, axis=0), np.tile(texts, (6, 1))], axis=1)
    np.testing.assert_allclose(game.cross_values(images, texts), game.values(joint).reshape(6, 4), atol=1e-12)


def test_a_coalition_is_encoded_once():
    game = game_on()
    before = game.encoder.costs.copy()
    images, texts = coalitions(game.n_patches, 6), coalitions(game.n_tokens, 4)
    first = game.cross_values(np.concatenate([images, images]), texts)
    spent = game.encoder.costs - before
    assert (spent.image_forwards, spent.backwards) == pytest.approx((6, 0))
    assert spent.text_forwards == pytest.approx(len(np.unique(texts, axis=0)))
    np.testing.assert_array_equal(first[:6], first[6:])
    before = game.encoder.costs.copy()
    np.testing.assert_array_equal(game.cross_values(images[::-1], texts), first[:6][::-1])
    more = coalitions(game.n_patches, 9)
    game.embed_images(more)
    assert (game.encoder.costs - before).image_forwards == pytest.approx(3)
    np.testing.assert_array_equal(game.cross_values(more[:6], texts), first[:6])


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_a_batch_that_does_not_fit_is_halved(error):
    kept = coalitions(game_on().n_players)
    game = game_on(batch_size=32)
    embed, sizes = game.images.embed, []

    def small_memory(batch):
        sizes.append(len(batch))
        if len(batch) > 10:
            raise error
        return embed(batch)

    game.images.embed = small_memory
    np.testing.assert_allclose(game.values(kept), game_on().values(kept), atol=1e-5)
    assert sizes == [32, 16, 8, 8, 8, 8, 8]
    assert game.images.batch_size == 8


def test_an_error_that_a_smaller_batch_cannot_mend_is_raised():
    game = game_on(batch_size=4)

    def broken(_):
        raise RuntimeError("shapes differ")

    def never_enough(_):
        raise torch.OutOfMemoryError("no")

    game.images.embed = broken
    with pytest.raises(RuntimeError, match="shapes differ"):
        game.embed_images(coalitions(game.n_patches))
    game.images.embed = never_enough
    with pytest.raises(torch.OutOfMemoryError):
        game.embed_images(coalitions(game.n_patches))


def test_it_is_a_shapiq_game():
    game = game_on()
    values = KernelSHAP(n=game.n_players, random_state=0).approximate(budget=300, game=game)
    shapley = values.get_n_order_values(1)
    full, empty = game.values(np.ones(game.n_players)), game.values(np.zeros(game.n_players))
    assert shapley.sum() == pytest.approx(full[0] - empty[0], abs=1e-4)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'mask_pixels'"):
        game_on(hf_clip, "mask_pixel")
    with pytest.raises(UnknownName, match="Did you mean 'attention_mask'"):
        game_on(text_removal="attention_masks")
    with pytest.raises(UnknownName, match="no value function is called 'cosinus'"):
        game_on(value="cosinus")


def test_coalitions_of_another_width_are_refused():
    game = game_on()
    with pytest.raises(InvalidInput, match=r"one column for each of the 21 players; got shape \(2, 20\)"):
        game.values(np.ones((2, 20), dtype=bool))


def test_no_coalitions_have_no_values():
    game = game_on()
    assert game.values(np.zeros((0, game.n_players), dtype=bool)).shape == (0,)
    assert game.cross_values(np.zeros((0, 16), dtype=bool), coalitions(5, 3)).shape == (0, 3)
