"""Direct effects: what each patch writes into the class token by attention, read in the text's direction."""

from dataclasses import dataclass

import torch
from torch import nn

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation


@dataclass(frozen=True, kw_only=True)
class ClipDecomposition(Explainer, name="clip_decomposition", version=1):
    """Sum over the last ``layers`` blocks and all heads of a patch's direct contribution to the cosine similarity.

    The embedding is a sum over what the residual stream of the class token was given. The final norm's scale is held at
    its value for this image, which makes it linear; contributions are then exact, and in cosine similarity.
    """

    yields = ("image",)
    needs = ("attention weights", "a class token", "a final layer norm")

    layers: int = 4

    def __post_init__(self):
        if self.layers < 1:
            raise InvalidInput(f"clip_decomposition: layers is at least 1; got {self.layers}")

    def unsupported(self, encoder):
        if not encoder.has_tower("image"):
            return f"clip_decomposition reads inside the image tower; that of {encoder.name} is no plain transformer"
        if encoder.image.pooling != "class_token":
            return "clip_decomposition follows the residual stream of a class token; this image tower has none"
        if not isinstance(encoder.image.norm, nn.LayerNorm):
            return "clip_decomposition holds the scale of a final layer norm; this image tower ends without one"
        return None

    @torch.no_grad()
    def explain(self, encoder, pair, rng):
        del rng
        tower = encoder.image
        text = encoder.embed_texts(pair.input_ids)[0]
        first = max(tower.depth - self.layers, 0)
        state = tower.run(encoder.image_state(pair.pixel_values), stop=first)
        written = 0.0
        for layer in range(first, tower.depth):
            step = tower.step(state, layer)
            written = written + _by_position(tower.blocks[layer], step)
            state = state.at(step.output)
        pooled = tower.pooled_token(state)[0]
        embedding = tower.project(tower.norm(pooled)[None])[0]
        into = _linear(tower.project, _normed(tower.norm, written, pooled))
        scores = (into @ text / embedding.norm())[tower.prefix :]
        similarity = float(embedding @ text / embedding.norm())
        return Explanation(image=scores.double().cpu().numpy().reshape(encoder.patch_grid), similarity=similarity)


def _by_position(block, step):
    """Return what each position gives to the class token through one block's attention, (position, dim).

    A head's output is a sum over positions of attention times value, and the output projection is linear up to its bias.
    """
    n, width = step.value.shape[1], step.value.shape[2]
    value = step.value[0].view(n, block.heads, width // block.heads)
    mixed = step.attention[0, :, 0, :].T[:, :, None] * value
    return _linear(block.out, mixed.reshape(n, width))


def _linear(layer, rows):
    """Apply an affine map without its offset."""
    return layer(rows) - layer(torch.zeros_like(rows[:1]))


def _normed(norm, rows, pooled):
    """Apply a layer norm to parts of ``pooled``, its scale held: the parts' results add up, but for the bias."""
    scale = (pooled.var(unbiased=False) + norm.eps).rsqrt()
    weight = 1.0 if norm.weight is None else norm.weight
    return (rows - rows.mean(dim=-1, keepdim=True)) * scale * weight
