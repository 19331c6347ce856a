"""The recorded game: logits of the golden model with patches' pixels zeroed and tokens' attention masked."""

from functools import cache
from typing import Any

import numpy as np

from tests.golden_models import golden_inputs, golden_shape, huggingface_clip


@cache
def _model() -> Any:
    return huggingface_clip(1)


def golden_logits(coalitions: np.ndarray) -> np.ndarray:
    """Return cosine x exp(3) of seed 1 for every row of kept players, 36 patches then 7 content tokens."""
    import torch

    pixels, ids = golden_inputs(1)
    side = golden_shape(1).patch_size
    kept, inverse = np.unique(coalitions, axis=0, return_inverse=True)
    patches = torch.from_numpy(kept[:, :36].reshape(-1, 1, 6, 6)).float()
    tokens = torch.from_numpy(kept[:, 36:]).long()
    attention = torch.ones(len(kept), ids.shape[1], dtype=torch.long)
    attention[:, 1 : 1 + tokens.shape[1]] = tokens
    with torch.no_grad():
        masked = pixels * patches.repeat_interleave(side, 2).repeat_interleave(side, 3)
        output = _model()(pixel_values=masked, input_ids=ids.expand(len(kept), -1), attention_mask=attention)
    cosine = (output.image_embeds * output.text_embeds).sum(dim=-1)
    return (np.exp(3) * cosine.double().numpy())[inverse.ravel()]
