import pytest
import torch
from torch.nn import functional as F

from benchmark.encoders import State, wrap_encoder
from benchmark.errors import UnsupportedEncoder
from benchmark.games.removal import IMAGE_REMOVALS, TEXT_REMOVALS
from tests.encoders.small_encoders import (
    clip_ids,
    clip_processor,
    hf_clip,
    hf_siglip,
    open_clip_model,
    pixels,
    siglip_ids,
    word_clip,
    word_tokenizer,
)

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
ENCODERS = {
    "clip": (hf_clip, 32, clip_ids((5,))),
    "siglip, with a bias in its patch embedding and leftover pixels": (hf_siglip, 30, siglip_ids((5,))),
    "open_clip, mean of the patches": (lambda: open_clip_model("mean"), 32, clip_ids((5,), end=63)),
    "open_clip, siglip text": (lambda: open_clip_model("siglip text"), 32, siglip_ids((5,))),
}


def coalitions(n_players, n=9):
    drawn = torch.rand(n, n_players, generator=torch.Generator().manual_seed(3)) < 0.5
    drawn[0], drawn[1] = True, False
    return drawn


def prepared(name):
    build, size, ids = ENCODERS[name]
    encoder = wrap_encoder(build())
    return encoder, encoder.pair_from_tensors(pixels(size, 1), ids)


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_mask_pixels_equals_zeroed_pixels_through_the_library(name):
    encoder, pair = prepared(name)
    kept = coalitions(encoder.n_patches)
    rows, columns = encoder.patch_grid
    masked = pair.pixel_values.repeat(len(kept), 1, 1, 1)
    area = masked[..., : rows * 8, : columns * 8]
    area *= kept.view(-1, 1, rows, columns).repeat_interleave(8, 2).repeat_interleave(8, 3)
    library = F.normalize(encoder.library_image_embeddings(masked), dim=-1)
    torch.testing.assert_close(IMAGE_REMOVALS["mask_pixels"](encoder, pair)(kept), library, **CLOSE)


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_drop_tokens_equals_one_short_sequence_after_the_other(name):
    encoder, pair = prepared(name)
    kept = coalitions(encoder.n_patches)
    tower, state = encoder.image, encoder.image_state(pair.pixel_values)
    found = IMAGE_REMOVALS["drop_tokens"](encoder, pair)(kept)
    assert bool(torch.isfinite(found).all())
    for row, coalition in enumerate(kept):
        columns = torch.cat([torch.ones(tower.prefix, dtype=torch.bool), coalition])
        if columns.any():
            alone = tower.finish(tower.run(State(hidden=state.hidden[:, columns])))
            if tower.pooling == "mean" and not coalition.any():
                continue
            torch.testing.assert_close(found[row], F.normalize(alone, dim=-1)[0], **CLOSE)


@pytest.mark.parametrize("name", ["clip", "siglip, with a bias in its patch embedding and leftover pixels"])
@torch.no_grad()
def test_attention_mask_equals_the_librarys(name):
    encoder, pair = prepared(name)
    kept = coalitions(pair.n_tokens)
    mask = torch.ones(len(kept), pair.input_ids.shape[1], dtype=torch.long)
    mask[:, list(pair.token_positions)] = kept.long()
    ids = pair.input_ids.expand(len(kept), -1)
    library = F.normalize(encoder.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)
    torch.testing.assert_close(TEXT_REMOVALS["attention_mask"](encoder, pair)(kept), library, **CLOSE)


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_the_id_of_a_removed_token_does_not_matter(name):
    encoder, pair = prepared(name)
    other = pair.input_ids.clone()
    other[0, pair.token_positions[1]] = 30
    changed = encoder.pair_from_tensors(pair.pixel_values, other)
    kept = coalitions(pair.n_tokens)
    kept[:, 1] = False
    embed = TEXT_REMOVALS["attention_mask"]
    torch.testing.assert_close(embed(encoder, pair)(kept), embed(encoder, changed)(kept), atol=1e-6, rtol=0)


@torch.no_grad()
def test_replace_token_writes_the_mask_word():
    from PIL import Image

    encoder = wrap_encoder(word_clip(), clip_processor(), word_tokenizer())
    pair = encoder.pair(Image.new("RGB", (32, 32)), "a red star")
    kept = torch.tensor([[True, False, True], [False, False, False]])
    ids = pair.input_ids.repeat(2, 1)
    ids[0, 2] = ids[1, 1] = ids[1, 2] = ids[1, 3] = 2
    library = F.normalize(encoder.library_text_embeddings(ids), dim=-1)
    torch.testing.assert_close(TEXT_REMOVALS["replace_token"](encoder, pair)(kept), library, **CLOSE)


def test_a_vocabulary_without_a_mask_word_cannot_replace():
    encoder, pair = prepared("clip")
    with pytest.raises(UnsupportedEncoder, match="has no mask word"):
        TEXT_REMOVALS["replace_token"](encoder, pair)
