"""BiomedCLIP's architecture, timm's vision transformer and a BERT, from configs with random weights."""

import numpy as np
import open_clip
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F
from transformers import BertConfig, BertTokenizerFast

from benchmark.encoders import wrap_encoder
from benchmark.errors import UnsupportedEncoder
from benchmark.explaining import explain
from benchmark.games.similarity import SimilarityGame

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "star", "opac", "##ity", "in", "the", "left", "lung"]
SMALL_TRUNK = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 0}


def biomedclip(folder, *, context=16, trunk=None, **bert):
    """BiomedCLIP's published settings (timm_pool '', linear projection; class token, mlp projection of the text)."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertConfig(vocab_size=len(WORDS), **bert).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    vision = {
        "timm_model_name": "vit_base_patch16_224" if trunk is None else "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
    }
    vision |= {"timm_pool": "", "timm_proj": "linear", "image_size": 224}
    text = {"hf_model_name": str(folder), "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler"}
    text |= {"context_length": context, "hf_model_pretrained": False, "hf_tokenizer_name": str(folder)}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(24 if trunk is not None else 512, vision, text)
    if trunk is not None:
        model.visual.trunk, model.visual.image_size = trunk, (32, 32)
        model.visual.head = torch.nn.Sequential(torch.nn.Linear(32, 24, bias=False))
    size = model.visual.image_size[0]
    preprocess = open_clip.transform.image_transform(size, is_train=False)
    wrapped = open_clip.tokenizer.HFTokenizer(str(folder), context_length=context)
    return wrap_encoder(model, preprocess, wrapped, name="biomedclip")


@pytest.fixture(params=["token", "map", "avg"])
def encoder(request, tmp_path):
    torch.manual_seed(1)
    trunk = VisionTransformer(**SMALL_TRUNK, global_pool=request.param, class_token=request.param != "map", fc_norm=False)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return biomedclip(tmp_path, trunk=trunk, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)


@torch.no_grad()
def test_the_loop_equals_the_library(encoder):
    images = torch.randn(3, 3, 32, 32)
    ids = torch.stack([torch.tensor(encoder.tokenize(text).ids) for text in ("a red star", "opacity", "in the left lung")])
    ours, theirs = encoder.embed_images(images), F.normalize(encoder.library_image_embeddings(images), dim=-1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    ours, theirs = encoder.embed_texts(ids), F.normalize(encoder.library_text_embeddings(ids), dim=-1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_words_between_class_token_and_separator_are_players(encoder, tmp_path):
    from PIL import Image

    pair = encoder.pair(Image.new("RGB", (50, 40), "red"), "Opacity in the LEFT lung")
    assert pair.tokens == ("opac", "ity", "in", "the", "left", "lung")
    assert pair.tokens_of((0, 7)) == (0, 1)


@torch.no_grad()
def test_removing_a_word_is_writing_padding_over_it(encoder):
    from PIL import Image

    pair = encoder.pair(Image.new("RGB", (32, 32)), "a red star")
    game = SimilarityGame(encoder, pair)
    padded = pair.input_ids.clone()
    padded[0, pair.token_positions[1]] = 0
    theirs = F.normalize(encoder.library_text_embeddings(padded), dim=-1).numpy()
    assert np.allclose(game.embed_texts(np.array([[True, False, True]])), theirs, atol=1e-5)


@pytest.mark.parametrize("method", ["grad_eclip", "transformer_mm", "fixlip", "exclip"])
def test_explainers_serve_it_or_say_why_not(encoder, method):
    from PIL import Image

    pair = encoder.pair(Image.effect_noise((32, 32), 80).convert("RGB"), "a red star")
    parameters = {"image_budget": 300, "text_budget": 8} if method == "fixlip" else {}
    try:
        explain(encoder, pair, method, **parameters).check(encoder.patch_grid, 3)
    except UnsupportedEncoder as error:
        assert encoder.image.pooling != "class_token", error  # noqa: PT017  (the refusal is the other allowed outcome)


@pytest.mark.slow
def test_the_published_sizes_load(tmp_path):
    encoder = biomedclip(tmp_path, context=256)
    assert (encoder.patch_grid, encoder.image.depth, encoder.text.depth) == ((14, 14), 12, 12)
    assert encoder.context_length == 256
