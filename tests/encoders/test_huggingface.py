import pytest
import torch
from torch.nn import functional as F

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput, UnsupportedEncoder
from tests.encoders.small_encoders import clip_ids, hf_clip, hf_siglip, pixels, siglip_ids, siglip_processor, word_tokenizer

AGREEMENT = 1e-5  # of two float32 orders of the same sums; the adapter itself allows 1e-4

CASES = {
    "clip": (lambda: hf_clip(60), clip_ids(), 32),
    "clip, legacy end of text": (lambda: hf_clip(2), clip_ids(end=63, begin=62), 32),
    "clip, padded with its end of text": (lambda: hf_clip(60), clip_ids(pad=60), 32),
    "siglip": (lambda: hf_siglip(), siglip_ids(), 30),
    "siglip 2": (lambda: hf_siglip(0, 1), siglip_ids(pad=0), 30),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_loop_equals_the_library_on_a_padded_batch(case):
    build, ids, size = CASES[case]
    encoder = wrap_encoder(build())
    images = pixels(size)
    torch.testing.assert_close(
        encoder.embed_images(images), F.normalize(encoder.library_image_embeddings(images), dim=-1), atol=AGREEMENT, rtol=0
    )
    torch.testing.assert_close(
        encoder.embed_texts(ids), F.normalize(encoder.library_text_embeddings(ids), dim=-1), atol=AGREEMENT, rtol=0
    )


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_row_does_not_depend_on_the_rest_of_its_batch(case):
    build, ids, size = CASES[case]
    encoder = wrap_encoder(build())
    torch.testing.assert_close(encoder.embed_texts(ids)[1], encoder.embed_texts(ids[1:2])[0], atol=AGREEMENT, rtol=0)
    images = pixels(size)
    torch.testing.assert_close(encoder.embed_images(images)[1], encoder.embed_images(images[1:2])[0], atol=AGREEMENT, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_only_words_are_players(case):
    build, ids, size = CASES[case]
    encoder = wrap_encoder(build())
    for row, n_words in enumerate((6, 3, 9)):
        assert encoder.pair_from_tensors(pixels(size, 1), ids[row : row + 1]).n_tokens == n_words


@torch.no_grad()
def test_attention_pooling_with_explicit_weights_equals_the_library():
    encoder = wrap_encoder(hf_siglip())
    images = pixels(30)
    hidden = encoder.image.run(encoder.image_state(images))
    step = encoder.image.pool_step(hidden)
    assert step.attention.shape == (3, 4, 1, 9)
    torch.testing.assert_close(step.attention.sum(-1), torch.ones(3, 4, 1))
    torch.testing.assert_close(step.output[:, 0], encoder.library_image_embeddings(images), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_siglip_reads_its_padding():
    encoder = wrap_encoder(hf_siglip())
    ids = siglip_ids((4,))
    not_padding = torch.arange(12)[None] < 5
    assert (encoder.embed_texts(ids) - encoder.embed_texts(ids, keep=not_padding)).abs().max() > 1e-3


@torch.no_grad()
def test_a_keep_mask_is_the_librarys_attention_mask():
    for model, ids in ((hf_clip(60), clip_ids()), (hf_siglip(), siglip_ids())):
        encoder = wrap_encoder(model)
        keep = torch.ones_like(ids, dtype=torch.bool)
        keep[:, 2] = False
        library = model.get_text_features(input_ids=ids, attention_mask=keep.long()).pooler_output
        torch.testing.assert_close(encoder.embed_texts(ids, keep), F.normalize(library, dim=-1), atol=AGREEMENT, rtol=0)


@torch.no_grad()
def test_what_follows_the_end_of_a_causal_text_does_not_matter():
    encoder = wrap_encoder(hf_clip(60))
    ids = clip_ids((4,))
    assert encoder.trim(ids).shape == (1, 6)
    torch.testing.assert_close(encoder.embed_texts(ids[:, :6]), encoder.embed_texts(ids))


def test_logit_scale_and_bias_are_read():
    encoder = wrap_encoder(hf_siglip())
    assert encoder.logit_scale == pytest.approx(9.974, abs=1e-3)
    assert encoder.logit_bias == -3.0
    assert wrap_encoder(hf_clip()).logit_bias == 0.0


def test_siglip_lower_cases_and_pads_on_the_right():
    tokenizer = word_tokenizer(begin=False)
    tokenizer.padding_side = "left"
    encoder = wrap_encoder(hf_siglip(0, 4), siglip_processor(), tokenizer)
    tokens = encoder.tokenize("A RED Star.")
    assert tokens.pieces == ("a", "red", "star", ".")
    assert tokens.ids[:5] == [5, 6, 8, 14, 4]
    assert tokens.ids[-1] == 0
    assert tokens.positions == (0, 1, 2, 3)


def test_naflex_and_unknown_models_are_refused_in_one_sentence():
    from transformers import CLIPVisionConfig, CLIPVisionModel, Siglip2Config, Siglip2Model

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    naflex = Siglip2Model(
        Siglip2Config(text_config=small | {"vocab_size": 64}, vision_config=small | {"patch_size": 8, "num_patches": 16})
    )
    with pytest.raises(UnsupportedEncoder, match="naflex"):
        wrap_encoder(naflex)
    with pytest.raises(UnsupportedEncoder, match="CLIPVisionModel is not described"):
        wrap_encoder(CLIPVisionModel(CLIPVisionConfig(**small, image_size=32, patch_size=8)))


def test_siglip_without_its_pooling_head_is_refused():
    from transformers import SiglipConfig, SiglipModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision = small | {"image_size": 32, "patch_size": 8, "vision_use_head": False}
    with pytest.raises(UnsupportedEncoder, match="pooling head"):
        wrap_encoder(SiglipModel(SiglipConfig(text_config=small | {"vocab_size": 64}, vision_config=vision)))


def test_wrong_sizes_are_refused():
    encoder = wrap_encoder(hf_clip())
    with pytest.raises(InvalidInput, match="takes 32 x 32 images; got"):
        encoder.embed_images(pixels(40))
    with pytest.raises(InvalidInput, match="at most 12 tokens; got 13"):
        encoder.embed_texts(clip_ids((11,), context=13))
    with pytest.raises(InvalidInput, match="without a tokenizer"):
        encoder.tokenize("a star")
    with pytest.raises(InvalidInput, match="no content token"):
        encoder.pair_from_tensors(pixels(32, 1), clip_ids((0,)))
