"""The embedded encoder's architecture and files: a small Hugging Face ``CLIPModel`` with a word-level tokenizer."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from benchmark.data.grammar import BOS, CONTEXT, EOS, MASK, PAD, UNKNOWN, VOCABULARY
from benchmark.data.scenes_drawing import SIDE

FOLDER = Path(__file__).parent
PATCH = 16
MEAN, STD = (0.65, 0.64, 0.62), (0.25, 0.25, 0.25)  # normalised zero is a light grey, close to the mean colour of both sets


def configuration() -> CLIPConfig:
    """Image tower 192 wide and 5 deep on 7 x 7 patches, text tower 128 wide and 2 deep, 128 shared dimensions."""
    return CLIPConfig(
        vision_config={
            "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 5, "num_attention_heads": 6,
            "image_size": SIDE, "patch_size": PATCH, "hidden_act": "gelu",
        },
        text_config={
            "vocab_size": len(VOCABULARY), "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": CONTEXT, "hidden_act": "gelu",
            "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS,
        },
        projection_dim=128,
        logit_scale_init_value=2.64,
    )  # fmt: skip


def cosine_basis(count: int) -> Float[Tensor, "filter channel row column"]:
    """The smoothest ``count`` cosine waves over a patch, in brightness and two colour differences."""
    axis = torch.arange(PATCH) + 0.5
    waves = torch.stack([torch.cos(torch.pi * axis * k / PATCH) * (1 if k else 2**-0.5) for k in range(PATCH)])
    waves *= (2 / PATCH) ** 0.5
    mixes = [
        (torch.tensor([0.577, 0.577, 0.577]), 1.0),
        (torch.tensor([0.707, -0.707, 0.0]), 1.6),
        (torch.tensor([0.408, 0.408, -0.816]), 1.6),
    ]
    ranked = sorted(
        (rate * ((v**2 + h**2) ** 0.5 + 1), v, h, mix)
        for mix, (_, rate) in enumerate(mixes)
        for v in range(PATCH)
        for h in range(PATCH)
    )
    basis = [mixes[mix][0][:, None, None] * waves[v][:, None] * waves[h][None, :] for _, v, h, mix in ranked[:count]]
    return torch.stack(basis)


def initial_positions(width: int) -> Float[Tensor, "position dim"]:
    """Sines and cosines of row and column, after one vector of zeros for the class token."""
    side = SIDE // PATCH
    rates = torch.pi / side * 2.0 ** torch.linspace(0, 2, width // 4)
    waves = [wave(torch.arange(side)[:, None] * rates) for wave in (torch.sin, torch.cos)]
    along = torch.cat(waves, 1)
    rows, columns = along.repeat_interleave(side, 0), along.repeat(side, 1)
    return torch.cat([torch.zeros(1, width), torch.cat([rows, columns], 1)])


def initial_model() -> CLIPModel:
    """Random weights, but for patch embeddings that start as a cosine transform and positions that start as waves."""
    model = CLIPModel(configuration())
    embeddings = model.vision_model.embeddings
    with torch.no_grad():
        filters, width = embeddings.patch_embedding.weight, embeddings.position_embedding.weight.shape[1]
        filters.copy_(cosine_basis(width) * 0.25)
        embeddings.position_embedding.weight.copy_(0.3 * initial_positions(width))
    return model


def normalise(pixels: UInt8[Tensor, "image row column 3"]) -> Float[Tensor, "image 3 row column"]:
    values = pixels.permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def zero_patches(
    pixel_values: Float[Tensor, "image 3 row column"], keep: Bool[Tensor, "image patch"]
) -> Float[Tensor, "image 3 row column"]:
    """Set the pixels of removed patches to the normalised zero."""
    grid = keep.reshape(len(keep), 1, SIDE // PATCH, SIDE // PATCH).to(pixel_values.dtype)
    return pixel_values * grid.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)


def embed_images(
    model: CLIPModel, pixel_values: Float[Tensor, "image 3 row column"], keep: Bool[Tensor, "image patch"] | None = None
) -> Float[Tensor, "image dim"]:
    """Unit-length embeddings; with ``keep``, from these patches alone, the same number in every image."""
    tower = model.vision_model
    hidden = tower.embeddings(pixel_values)
    if keep is not None:
        patches = hidden[:, 1:][keep].reshape(len(keep), -1, hidden.shape[-1])
        hidden = torch.cat([hidden[:, :1], patches], 1)
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden)).last_hidden_state
    pooled = model.visual_projection(tower.post_layernorm(hidden[:, 0]))
    return torch.nn.functional.normalize(pooled.float(), dim=-1)


def embed_texts(
    model: CLIPModel, input_ids: Int[Tensor, "text token"], attention_mask: Int[Tensor, "text token"]
) -> Float[Tensor, "text dim"]:
    """Unit-length embeddings."""
    pooled = model.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output
    return torch.nn.functional.normalize(model.text_projection(pooled).float(), dim=-1)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word; full stops and commas are words of their own."""
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token=VOCABULARY[UNKNOWN]))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    core.post_processor = processors.TemplateProcessing(
        single=f"{VOCABULARY[BOS]} $A {VOCABULARY[EOS]}", special_tokens=[(VOCABULARY[BOS], BOS), (VOCABULARY[EOS], EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=CONTEXT, pad_token=VOCABULARY[PAD], unk_token=VOCABULARY[UNKNOWN],
        mask_token=VOCABULARY[MASK], bos_token=VOCABULARY[BOS], eos_token=VOCABULARY[EOS],
    )  # fmt: skip


def save(model: CLIPModel, folder: Path, record: dict[str, object] | None = None) -> None:
    """Write the model in half precision with its tokenizer and image processor; each file is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        half = CLIPModel(model.config)
        half.load_state_dict(model.state_dict())
        half.half().save_pretrained(place)
        config = json.loads((place / "config.json").read_text())
        config["dtype"] = "float32"  # stored in half precision, used in single
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        make_tokenizer().save_pretrained(place)
        CLIPImageProcessor(
            size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_center_crop=False,
            image_mean=list(MEAN), image_std=list(STD), resample=3,
        ).save_pretrained(place)  # fmt: skip
        if record is not None:
            (place / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        for file in place.iterdir():
            file.chmod(0o644)  # safetensors writes for the owner alone
            shutil.move(file, folder / file.name)
