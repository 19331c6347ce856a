"""FIxLIP's fit, FIxLIP end to end and exCLIP computed the way their authors compute them, written from the formulas.

``benchmark speed`` and ``scripts/speed.py`` compare the suite with these. They call the library's own forward pass and know
nothing of the suite.
"""

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import torch

Fitted = tuple[float, np.ndarray, np.ndarray]


def dense_fit(
    images: np.ndarray,
    texts: np.ndarray,
    values: np.ndarray,
    image_weights: np.ndarray,
    text_weights: np.ndarray,
    *,
    cross_only: bool = False,
) -> Fitted:
    """Solve the weighted normal equations of the written-out design: a row per coalition pair, a column per interaction."""
    n_patches, n = images.shape[1], images.shape[1] + texts.shape[1]
    pairs = list(product(range(n_patches), range(n_patches, n)) if cross_only else combinations(range(n), 2))
    kept = np.hstack([np.repeat(images, len(texts), axis=0), np.tile(texts, (len(images), 1))]).T.astype(np.float64)
    design = np.empty((1 + n + len(pairs), kept.shape[1]))
    design[0], design[1 : 1 + n] = 1.0, kept
    for row, (i, j) in enumerate(pairs, 1 + n):
        np.multiply(kept[i], kept[j], out=design[row])
    weights = np.outer(image_weights, text_weights).ravel()
    weighted = design * weights
    solution = np.linalg.solve(weighted @ design.T, weighted @ values.ravel())
    matrix = np.zeros((n, n))
    matrix[tuple(np.array(pairs).T)] = solution[1 + n :]
    return float(solution[0]), solution[1 : 1 + n], matrix + matrix.T


@torch.no_grad()
def all_logits(
    model: Any,
    pixel_values: torch.Tensor,
    input_ids: torch.Tensor,
    positions: tuple[int, ...],
    images: np.ndarray,
    texts: np.ndarray,
    batch: int = 64,
) -> np.ndarray:
    """Return the logit of every masked image with every masked text: both towers run again for every pair of batches."""
    attention = torch.ones(len(texts), input_ids.shape[1], dtype=torch.long)
    attention[:, list(positions)] = torch.from_numpy(texts).long()
    attention = attention.to(input_ids.device)
    rows = []
    for shown in repainted(pixel_values, images).split(batch):
        parts = [
            model(input_ids=input_ids.expand(len(kept), -1), attention_mask=kept, pixel_values=shown).logits_per_image
            for kept in attention.split(batch)
        ]
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows).double().cpu().numpy()


def repainted(pixel_values: torch.Tensor, images: np.ndarray) -> torch.Tensor:
    """Return a copy of the image for every coalition (of a square grid), the pixels of removed patches set to zero."""
    side = round(images.shape[1] ** 0.5)
    patch = pixel_values.shape[-1] // side
    mask = torch.from_numpy(images).view(-1, 1, side, side).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return pixel_values * mask.to(pixel_values.device)


def exclip(model: Any, pixel_values: torch.Tensor, input_ids: torch.Tensor, steps: int) -> np.ndarray:
    """Return exCLIP's matrix, text by image positions, from full Jacobians and the full matrix of their products."""
    reference = torch.zeros_like(input_ids)
    reference[0, 0], reference[0, 2] = input_ids[0, 0], input_ids[0, -1]
    text = _integrated_jacobian(
        model.text_model.encoder.layers[-1], lambda ids: model.get_text_features(ids).pooler_output, input_ids, reference, steps
    )
    image = _integrated_jacobian(
        model.vision_model.encoder.layers[-1],
        lambda pixels: model.get_image_features(pixels).pooler_output,
        pixel_values,
        torch.zeros_like(pixel_values),
        steps,
    )
    (text_jacobian, text_way, f), (image_jacobian, image_way, g) = text, image
    scores = text_jacobian.flatten(1).T @ image_jacobian.flatten(1)
    scores *= text_way.flatten()[:, None]
    scores *= image_way.flatten()
    scores = scores.view(*text_way.shape, *image_way.shape).sum(dim=(1, 3))
    return (scores.double() / (f.double().norm() * g.double().norm())).numpy()


def _integrated_jacobian(
    block: Any, embed: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, reference: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mean Jacobian (embedding position dim) over the line at a block's input, the way, and the embedding."""
    with torch.no_grad():
        (end, embedding), (start, _) = _block_input(block, embed, inputs), _block_input(block, embed, reference)
    points = torch.arange(steps, 0, -1) / steps
    leaf = (start + points[:, None, None] * (end - start)).requires_grad_()
    handle = block.register_forward_pre_hook(lambda _, args, kwargs: ((leaf, *args[1:]), kwargs), with_kwargs=True)
    try:
        output = embed(inputs.expand(steps, *inputs.shape[1:])).sum(dim=0)
    finally:
        handle.remove()
    rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0].mean(dim=0) for value in output]
    return torch.stack(rows), (end - start)[0], embedding[0]


def _block_input(
    block: Any, embed: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    seen: list[torch.Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        embedding = embed(inputs)
    finally:
        handle.remove()
    return seen[0], embedding
