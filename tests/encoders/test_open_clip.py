import open_clip
import pytest
import torch
from torch.nn import functional as F

from benchmark.encoders import wrap_encoder
from benchmark.errors import UnsupportedEncoder
from benchmark.games.similarity import SimilarityGame
from tests.encoders.small_encoders import (
    OPEN_CLIP,
    OPEN_CLIP_CUSTOM,
    clip_ids,
    open_clip_model,
    pixels,
    randomised,
    siglip_ids,
)

AGREEMENT = 1e-5


def ids_of(kind):
    return siglip_ids() if kind == "siglip text" else clip_ids(end=60 if "end of text" in kind else 63, begin=59)


@pytest.mark.parametrize("kind", [*OPEN_CLIP, *OPEN_CLIP_CUSTOM])
@torch.no_grad()
def test_the_loop_equals_the_library_on_a_padded_batch(kind):
    encoder = wrap_encoder(open_clip_model(kind))
    images, ids = pixels(encoder.frame_size), ids_of(kind)
    torch.testing.assert_close(
        encoder.embed_images(images), F.normalize(encoder.library_image_embeddings(images), dim=-1), atol=AGREEMENT, rtol=0
    )
    torch.testing.assert_close(
        encoder.embed_texts(ids), F.normalize(encoder.library_text_embeddings(ids), dim=-1), atol=AGREEMENT, rtol=0
    )


@pytest.mark.parametrize("kind", ["class token", "end of text", "siglip text"])
def test_only_words_are_players(kind):
    encoder = wrap_encoder(open_clip_model(kind))
    for row, n_words in enumerate((6, 3, 9)):
        assert encoder.pair_from_tensors(pixels(32, 1), ids_of(kind)[row : row + 1]).n_tokens == n_words


def test_an_oblong_frame_has_rows_and_columns():
    encoder = wrap_encoder(open_clip_model("oblong"))
    assert encoder.patch_grid == (3, 5)
    assert encoder.frame_size == (24, 40)


def test_a_custom_block_is_refused():
    vision = {"layers": 1, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32, "qk_norm": True}
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 1}
    with pytest.raises(UnsupportedEncoder, match="CustomResidualAttentionBlock"):
        wrap_encoder(open_clip.CLIP(24, vision, text))


def test_coca_is_refused():
    small = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 1}
    vision = {"layers": 1, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32, "attentional_pool": True}
    vision |= {"attn_pooler_queries": 4, "attn_pooler_heads": 4}
    with pytest.raises(UnsupportedEncoder, match="CoCa"):
        wrap_encoder(open_clip.CoCa(24, small | {"mlp_ratio": 4}, small | {"embed_cls": True}, vision))


@torch.no_grad()
def test_a_resnet_serves_black_box_methods_and_refuses_the_others():
    vision = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "image_size": 64, "patch_size": None}
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 1}
    model = randomised(open_clip.CLIP(24, vision, text))
    encoder = wrap_encoder(model)
    images = pixels(64)
    torch.testing.assert_close(encoder.embed_images(images), model.encode_image(images, normalize=True))
    pair = encoder.pair_from_tensors(images[:1], clip_ids((4,), end=63))
    game = SimilarityGame(encoder, pair)
    assert game.n_patches == 4
    masked = images[:1].clone()
    masked[..., :32, 32:] = 0
    kept = torch.tensor([[True, False, True, True]])
    torch.testing.assert_close(torch.from_numpy(game.embed_images(kept.numpy())), model.encode_image(masked, normalize=True))
    with pytest.raises(UnsupportedEncoder, match="image tower of custom is no plain transformer"):
        encoder.image_state(images)
    with pytest.raises(UnsupportedEncoder, match="no plain transformer"):
        SimilarityGame(encoder, pair, removal="drop_tokens")
