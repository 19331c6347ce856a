"""Methods beside recorded outputs of their authors' code, on the small CLIP that ``clip_small.py`` of the folder makes."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import DataError

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

SEED, N_TOKENS = 1, 7
LOGITS = float(np.exp(3.0))  # recorded values of the game are cosine x exp(3)
# (method, parameters, side, recorded key)
METHODS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("grad_eclip", {"heads": "one"}, "image", "grad_eclip_image_onehead"),
    ("grad_eclip", {"heads": "model"}, "image", "grad_eclip_image_multihead"),
    ("rollout", {}, "image", "rollout_image"),
    ("raw_attention", {}, "image", "self_attention_image_multihead"),
    ("grad_cam", {}, "image", "grad_cam_image_multihead"),
    ("transformer_mm", {}, "image", "game_image_last"),
)


def deviations(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield (method, recorded key, largest deviation over largest recorded value)."""
    recorded = _read(folder / f"clip_small_seed{SEED}.npz")
    encoder, pair = _encoder(_module(folder / "clip_small.py"))
    yield "similarity", "cosine", _deviation(np.array(encoder.similarity(pair)), recorded["cosine"])
    yield "similarity game", "coalition_values", _deviation(*_game(encoder, pair, recorded))
    from benchmark.explainers.base import EXPLAINERS

    for name, parameters, side, key in METHODS:
        found = EXPLAINERS[name].configure(parameters).explain(encoder, pair, np.random.default_rng(0))
        scores = getattr(found, side)
        inside = ",".join(f"{item}={value}" for item, value in parameters.items())
        yield f"{name}[{inside}]" if inside else name, key, _deviation(scores, recorded[key])


def _game(encoder: "DualEncoder", pair: "Pair", recorded: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    from benchmark.games.similarity import SimilarityGame

    game = SimilarityGame(encoder, pair)
    return LOGITS * game.values(recorded["coalitions"].astype(bool)), recorded["coalition_values"]


def _deviation(found: np.ndarray, recorded: np.ndarray) -> float:
    recorded = np.asarray(recorded, dtype=np.float64)
    if found.size != recorded.size:
        return float("inf")
    return float(np.abs(found.ravel() - recorded.ravel()).max() / np.abs(recorded).max())


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"there is no {path}; --golden takes the folder of recorded outputs")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _module(path: Path) -> ModuleType:
    """Import the file that makes model and input from a seed."""
    spec = importlib.util.spec_from_file_location("golden_clip_small", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise DataError(f"there is no {path}; --golden takes the folder of recorded outputs")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while it is being executed
    spec.loader.exec_module(module)
    return module


def _encoder(golden: Any) -> tuple["DualEncoder", "Pair"]:
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    from benchmark.encoders import wrap_encoder

    shape = golden.Shape()
    heads = shape.width // 64
    vision = CLIPVisionCfg(
        layers=shape.image_layers, width=shape.width, head_width=64, patch_size=shape.patch_size, image_size=shape.image_size
    )
    text = CLIPTextCfg(
        context_length=shape.context, vocab_size=shape.vocab_size, width=shape.width, heads=heads, layers=shape.text_layers
    )
    model = CLIP(shape.embed_dim, vision, text, quick_gelu=True)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in golden.state_dict(SEED, shape).items()})
    encoder = wrap_encoder(model.eval(), name="clip-small")
    pixels, ids = golden.inputs(SEED, N_TOKENS, shape)
    return encoder, encoder.pair_from_tensors(torch.from_numpy(pixels), torch.from_numpy(ids))
