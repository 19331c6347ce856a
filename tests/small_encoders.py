"""Small encoders with random weights, one of each family, that take photographs and English words.

The builders are cached: an encoder is shared by all tests of a process, so none may change it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmark.encoders import DualEncoder, wrap_encoder
from benchmark.submissions.encoders import random_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = ["a", "the", "red", "blue", "green", "star", "circle", "square", "left", "right", "of", "on", "above", "and", "small"]
SIDE, PATCH, CONTEXT = 32, 8, 12
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
N_WORDS = len(WORDS) + 5  # with padding, unknown, mask, begin, end


def one_token_per_word(
    vocabulary: Sequence[str], specials: Sequence[str], *, begin: bool, context: int
) -> "PreTrainedTokenizerFast":
    """Lower-case, split punctuation off; ``specials`` pad, stand for the unknown and for a mask, begin and end."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids, (pad, unknown, mask, first, last) = {word: i for i, word in enumerate(vocabulary)}, specials
    core = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    core.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}" if begin else f"$A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=context,
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        bos_token=first,
        eos_token=last,
    )


def word_tokenizer(*, begin: bool) -> "PreTrainedTokenizerFast":
    """One token per word: 0 pads, the largest id ends the text, and with ``begin`` the one below it begins it."""
    pad, unknown, mask, first, last = specials = "<pad>", "<unk>", "<mask>", "<bos>", "<eos>"
    return one_token_per_word([pad, unknown, mask, *WORDS, first, last], specials, begin=begin, context=CONTEXT)


class OpenClipTokenizer:
    """The word tokenizer behind open_clip's call: texts and a context length in, padded ids out."""

    def __init__(self) -> None:
        self.tokenizer = word_tokenizer(begin=True)

    def __call__(self, texts: list[str], context_length: int = CONTEXT) -> torch.Tensor:
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, max_length=context_length)
        return torch.tensor(encoded["input_ids"])


@cache
def huggingface_clip_encoder() -> DualEncoder:
    """CLIP, 4 x 4 patches, class token, causal text."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "projection_dim": 16}
    ids = {"bos_token_id": N_WORDS - 2, "eos_token_id": N_WORDS - 1, "pad_token_id": 0}
    text = tower | ids | {"vocab_size": N_WORDS, "max_position_embeddings": CONTEXT}
    vision = tower | {"image_size": SIDE, "patch_size": PATCH}
    model = random_model(lambda: CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)))
    crop = {"height": SIDE, "width": SIDE}
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop, image_mean=list(MEAN), image_std=list(STD))
    return wrap_encoder(model, processor, word_tokenizer(begin=True), name="small-huggingface-clip")


@cache
def siglip_encoder() -> DualEncoder:
    """SigLIP, 4 x 4 patches, attention pooling, text padded and read at its last position."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    ids = {"bos_token_id": N_WORDS - 2, "eos_token_id": N_WORDS - 1, "pad_token_id": 0}
    text = tower | ids | {"vocab_size": N_WORDS, "max_position_embeddings": CONTEXT, "projection_size": 32}
    vision = tower | {"image_size": SIDE, "patch_size": PATCH}
    model = random_model(lambda: SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    return wrap_encoder(model, processor, word_tokenizer(begin=False), name="small-siglip")


@cache
def open_clip_encoder() -> DualEncoder:
    """open_clip's native CLIP, 4 x 4 patches, class token, causal text."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=3, width=32, head_width=16, patch_size=PATCH, image_size=SIDE)
    text = CLIPTextCfg(context_length=CONTEXT, vocab_size=N_WORDS, width=32, heads=2, layers=3)
    model = random_model(lambda: CLIP(16, vision, text))
    transform = open_clip.image_transform(SIDE, is_train=False, mean=MEAN, std=STD)
    return wrap_encoder(model, transform, OpenClipTokenizer(), name="small-open-clip")


@cache
def biomedclip_encoder() -> DualEncoder:
    """BiomedCLIP's architecture, timm's vision transformer and a BERT: 4 x 4 patches, two class tokens, padding masked."""
    import open_clip

    from benchmark.families import open_clip_biomedclip

    model = random_model(lambda: open_clip_biomedclip(SIDE, N_WORDS, CONTEXT, layers=3))
    transform = open_clip.image_transform(SIDE, is_train=False, mean=MEAN, std=STD)
    return wrap_encoder(model, transform, OpenClipTokenizer(), name="small-biomedclip")


FAMILIES: dict[str, Callable[[], DualEncoder]] = {
    "huggingface-clip": huggingface_clip_encoder,
    "huggingface-siglip": siglip_encoder,
    "open_clip": open_clip_encoder,
    "open_clip-bert": biomedclip_encoder,
}


def picture(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Return an image of ``size`` (width, height): colour noise with one bright square."""
    pixels = np.random.default_rng(seed).integers(0, 160, (size[1], size[0], 3), dtype=np.uint8)
    pixels[8:24, 12:28] = (250, 40, 40)
    return Image.fromarray(pixels)
