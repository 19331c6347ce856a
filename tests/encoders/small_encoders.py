"""Small dual encoders with random weights, one per library and configuration."""

from functools import cache
from typing import Any

import torch

from tests.small_encoders import one_token_per_word

WORDS = ("a", "red", "blue", "star", "circle", "left", "of", "no", ",", ".", "the", "big", "and", "on", "cat", "dog")
SPECIAL = ("[PAD]", "[UNK]", "[MASK]", "[BOS]", "[EOS]")


def randomised(model: Any, seed: int = 0) -> Any:
    """Draw every parameter anew, so that no bias, norm or position is at a default that would hide an error."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("logit_scale"):
            parameter.data.fill_(2.3)
        elif name.endswith("logit_bias"):
            parameter.data.fill_(-3.0)
        elif "norm" in name or ".ln_" in name or name.startswith("ln_") or ".ls_" in name:
            parameter.data.copy_(0.2 * noise + (1.0 if name.endswith(("weight", "gamma")) else 0.0))
        elif parameter.ndim >= 2:
            parameter.data.copy_(noise * max(parameter[0].numel(), 1) ** -0.5)
        else:
            parameter.data.copy_(0.3 * noise)
    return model.eval()


@cache
def hf_clip(end: int = 60, image_size: int = 32, hidden_act: str = "quick_gelu") -> Any:
    from transformers import CLIPConfig, CLIPModel

    common = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "hidden_act": hidden_act,
    }
    config = CLIPConfig(
        text_config=common
        | {"vocab_size": 64, "max_position_embeddings": 12, "bos_token_id": 59, "eos_token_id": end, "pad_token_id": 0},
        vision_config=common | {"image_size": image_size, "patch_size": 8},
        projection_dim=24,
    )
    return randomised(CLIPModel(config))


@cache
def hf_siglip(pad: int = 1, end: int = 49407, image_size: int = 30) -> Any:
    """SigLIP as released (pad 1, begin and end left at CLIP's defaults), or SigLIP 2 (pad 0, end 1); leftover pixels."""
    from transformers import SiglipConfig, SiglipModel

    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    begin = 49406 if end == 49407 else 2
    config = SiglipConfig(
        text_config=common
        | {"vocab_size": 64, "max_position_embeddings": 12, "pad_token_id": pad, "eos_token_id": end, "bos_token_id": begin}
        | {"projection_size": 32},
        vision_config=common | {"image_size": image_size, "patch_size": 8},
    )
    return randomised(SiglipModel(config))


OPEN_CLIP = {
    "class token": ({}, {}, {}),
    "mean": ({"pool_type": "avg"}, {}, {}),
    "norm after mean": ({"pool_type": "avg", "final_ln_after_pool": True}, {}, {}),
    "norm after class token": ({"final_ln_after_pool": True}, {}, {}),
    "layer scale, quick gelu": ({"ls_init_value": 0.1}, {"ls_init_value": 0.1}, {"quick_gelu": True}),
    "no norm before": ({"no_ln_pre": True}, {}, {}),
    "end of text": ({}, {"pool_type": "eos", "eos_id": 60}, {}),
    "oblong": ({"image_size": (24, 40)}, {}, {}),
}
OPEN_CLIP_CUSTOM = {
    "siglip text": ({}, {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}, {"init_logit_bias": -10.0}),
    "bidirectional, end of text": ({"pool_type": "avg"}, {"no_causal_mask": True, "pool_type": "eos", "eos_id": 60}, {}),
    "first": ({}, {"no_causal_mask": True, "pool_type": "first"}, {"quick_gelu": True}),
    "no projection": ({}, {"proj_type": "none", "width": 24, "heads": 3}, {}),
}


@cache
def open_clip_model(kind: str = "class token") -> Any:
    import open_clip

    custom = kind in OPEN_CLIP_CUSTOM
    vision, text, other = (OPEN_CLIP_CUSTOM if custom else OPEN_CLIP)[kind]
    vision = {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32} | vision
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 2} | text
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(24, vision, text, **other)
    return randomised(model)


def pixels(model_or_size: Any = 32, batch: int = 3, seed: int = 0) -> torch.Tensor:
    height, width = model_or_size if isinstance(model_or_size, tuple) else (model_or_size, model_or_size)
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def clip_ids(
    lengths: tuple[int, ...] = (6, 3, 9), context: int = 12, end: int = 60, begin: int = 59, pad: int = 0
) -> torch.Tensor:
    """Ids as CLIP pads them: begin, words, end, padding; a different number of words in every row."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((len(lengths), context), pad)
    for row, length in enumerate(lengths):
        ids[row, : length + 2] = torch.cat(
            [torch.tensor([begin]), torch.randint(5, 55, (length,), generator=generator), torch.tensor([end])]
        )
    return ids


def siglip_ids(lengths: tuple[int, ...] = (6, 3, 9), context: int = 12, end: int = 1, pad: int = 1) -> torch.Tensor:
    """Ids as SigLIP pads them: words, end, padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((len(lengths), context), pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 55, (length,), generator=generator)
        ids[row, length] = end
    return ids


def word_tokenizer(*, begin: bool = True, context: int = 12) -> Any:
    """One token per word; lower-cases, splits punctuation off."""
    return one_token_per_word(SPECIAL + WORDS, SPECIAL, begin=begin, context=context)


def bpe_tokenizer() -> Any:
    """CLIP's own tokenizer class with a handful of merges: words fall into pieces, accents into bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    merges = [
        ("r", "e"),
        ("re", "d</w>"),
        ("c", "a"),
        ("ca", "t</w>"),
        ("s", "t"),
        ("a", "r</w>"),
        ("st", "ar</w>"),
        ("1", "2</w>"),
    ]
    pieces = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)


@cache
def bpe_clip() -> Any:
    """A CLIP with the vocabulary and the specials of ``bpe_tokenizer``."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = bpe_tokenizer()
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config=common
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=common | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    return randomised(CLIPModel(config))


@cache
def word_clip() -> Any:
    """A CLIP with the vocabulary and the specials of ``word_tokenizer``."""
    from transformers import CLIPConfig, CLIPModel

    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config=common
        | {
            "vocab_size": len(SPECIAL) + len(WORDS),
            "max_position_embeddings": 12,
            "bos_token_id": 3,
            "eos_token_id": 4,
            "pad_token_id": 0,
        },
        vision_config=common | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    return randomised(CLIPModel(config))


def clip_processor(size: int = 32) -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def siglip_processor(size: int = 30) -> Any:
    from transformers import SiglipImageProcessor

    return SiglipImageProcessor(size={"height": size, "width": size})
