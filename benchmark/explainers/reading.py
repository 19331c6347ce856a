"""What white-box explainers do alike: refuse towers that they cannot read, start a graph, follow the pooled token."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.tower import State, Step, Tower
from benchmark.types import Side

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

POOLED_BY = {"class_token": "its class token", "text_token": "a text token", "attention": "attention", "mean": "the mean"}


def unreadable(encoder: "DualEncoder", method: str, *sides: Side) -> str | None:
    """Return why a method that reads inside these towers cannot, or ``None``."""
    for side in sides:
        if not encoder.has_tower(side):
            return f"{method} reads inside the {side} tower; that of {encoder.name} is no plain transformer"
    return None


def pooled_by_mean(encoder: "DualEncoder", method: str, *sides: Side) -> str | None:
    """Return why a method that follows one pooled query cannot, or ``None``."""
    for side in sides:
        if (encoder.image if side == "image" else encoder.text).pooling == "mean":
            return f"{method} follows the query that is pooled; this {side} tower pools by the mean"
    return None


def leaf(state: State) -> State:
    """Return a state from which a graph starts, whether or not the encoder's weights require gradients."""
    return state.at(state.hidden.detach().requires_grad_())


def read_positions(tower: Tower, state: State) -> Int[Tensor, " pair"]:
    """Return the position of the token that is pooled, for each row."""
    n = len(state.hidden)
    if tower.pooling == "class_token" or state.read is None:
        return torch.zeros(n, dtype=torch.long, device=state.hidden.device)
    return state.read.expand(n)


def steps_from(tower: Tower, state: State, layer: int) -> tuple[list[Step], State]:
    """Run blocks from ``layer`` on with every part explicit; return what is inside them, and the end state."""
    steps: list[Step] = []
    for number in range(layer, tower.depth):
        steps.append(tower.step(state, number))
        state = state.at(steps[-1].output)
    return steps, state


def pooled_row(
    tower: Tower, state: State, pool: Float[Tensor, "pair position"] | None, relevance: Float[Tensor, "pair position position"]
) -> Float[Tensor, "pair position"]:
    """Return the row of a position-by-position relevance that the pooling reads; an attention pool mixes rows by ``pool``."""
    if pool is not None:
        return torch.einsum("bq,bqp->bp", pool, relevance)
    return relevance[torch.arange(len(relevance), device=relevance.device), read_positions(tower, state)]


def cosine(embedding: Float[Tensor, "pair dim"], other: Float[Tensor, "pair dim"]) -> Float[Tensor, " pair"]:
    """Return the cosine of each embedding with a unit vector."""
    return (F.normalize(embedding, dim=-1) * other).sum(dim=-1)


def patches(encoder: "DualEncoder", rows: Float[Tensor, "pair position"]) -> Float[np.ndarray, "pair row column"]:
    """Drop the class token's column and lay the rest out on the patch grid."""
    return array(rows[:, encoder.image.prefix :].unflatten(1, encoder.patch_grid))


def array(tensor: Tensor) -> Float[np.ndarray, "*axes"]:
    """Return a tensor as float64 on the host."""
    return tensor.detach().double().cpu().numpy()
