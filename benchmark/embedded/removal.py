"""Removing patches and words during training, so that masked inputs are nothing new, with the truth that is left."""

import numpy as np
from jaxtyping import Bool, Int

from benchmark.data.captions import remove_words
from benchmark.data.grammar import MASK, Statements

GRID = 7  # patches along a side
N_PATCHES = GRID * GRID


def patch_areas(masks: Bool[np.ndarray, "image thing row column"]) -> Int[np.ndarray, "image thing patch"]:
    """Visible pixels of each thing in each patch."""
    n_images, n_things, height, width = masks.shape
    cells = masks.reshape(n_images, n_things, GRID, height // GRID, GRID, width // GRID)
    return cells.sum((3, 5)).reshape(n_images, n_things, N_PATCHES)


def keep_scores(areas: Int[np.ndarray, "image thing patch"], rng: np.random.Generator) -> np.ndarray:
    """A score per patch whose highest entries are kept: scattered, or one block, or favouring or sparing one thing."""
    n_images = len(areas)
    scores = rng.random((n_images, N_PATCHES))
    row, column = np.divmod(np.arange(N_PATCHES), GRID)
    centre = rng.random((n_images, 2, 1)) * GRID
    block = -np.maximum(np.abs(row - centre[:, 0]), np.abs(column - centre[:, 1])) + 0.1 * scores
    thing = rng.integers(0, np.maximum((areas.sum(2) > 0).sum(1), 1))
    touched = areas[np.arange(n_images), thing] > rng.choice([0, 12], n_images)[:, None]
    style = rng.random(n_images)[:, None]
    scores = np.where(style < 0.15, block, np.where(style < 0.25, -block, scores))
    return np.where(style > 0.75, scores - 2.0 * touched, np.where(style > 0.60, scores + 2.0 * touched, scores))


def keep_patches(areas: Int[np.ndarray, "image thing patch"], rng: np.random.Generator) -> Bool[np.ndarray, "image patch"]:
    """Which patches stay, for every size of set from none to all; a sixth of the sets take exactly one thing away."""
    n_images = len(areas)
    n_kept = rng.integers(0, N_PATCHES + 1, n_images)
    rank = np.argsort(np.argsort(-keep_scores(areas, rng), axis=1), axis=1)
    keep = rank < n_kept[:, None]
    thing = rng.integers(0, np.maximum((areas.sum(2) > 0).sum(1), 1))
    spared = areas[np.arange(n_images), thing] == 0
    return np.where((rng.random(n_images) < 1 / 6)[:, None], spared, keep)


def seen_share(areas: Int[np.ndarray, "image thing patch"], keep: Bool[np.ndarray, "image patch"]) -> np.ndarray:
    """Share of each thing's visible pixels that lie in kept patches."""
    return (areas * keep[:, None]).sum(2) / np.maximum(areas.sum(2), 1)


def hide_words(
    table: Int[np.ndarray, "text slot"],
    statements: Statements,
    share: float,
    rng: np.random.Generator,
    groups: Int[np.ndarray, " text"],
) -> tuple[np.ndarray, np.ndarray, Statements]:
    """Take words from a ``share`` of the texts, half by the mask word, half by attention.

    Texts of one group lose the same slots. Returns the slot table, which slots may be attended to, and what the texts still
    say.
    """
    n_groups = int(groups.max()) + 1
    rate = np.where(rng.random((n_groups, 1)) < share, rng.random((n_groups, 1)), 0)
    removed = (rng.random((n_groups, table.shape[1])) < rate)[groups]
    removed[:, 0] = removed[:, -1] = False
    by_word = (rng.random(n_groups) < 0.5)[groups][:, None]
    masked = np.where(removed & by_word & (table >= 0), MASK, table)
    return masked, ~(removed & ~by_word), remove_words(statements, removed)
