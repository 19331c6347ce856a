"""Time and memory of FIxLIP's fit against the number of players and the budget, beside the written-out design."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.explainers import fixlip
from benchmark.games.sampling import sample_coalitions
from benchmark.speed import naive
from benchmark.speed.timing import Clock, Spread, in_turn

N_TOKENS = 8
TEXTS = 64

type Inputs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
type Fitted = tuple[float, np.ndarray, np.ndarray | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCost:
    """One fit: ``pairs`` is "all" or "cross", ``budget`` the values fitted; ``megabytes`` is the most that arrays take.

    ``against`` is what grows in the series that it belongs to: "players" or "budget".
    ``difference`` is that of our coefficients and the naive ones, as a share of the largest; ``None`` if not compared.
    """

    against: str
    way: str
    pairs: str
    n_patches: int
    n_players: int
    budget: int
    seconds: Spread
    megabytes: float
    difference: float | None


@dataclass(frozen=True, slots=True)
class _Grid:
    against: str
    pairs: str
    n_patches: int
    n_images: int


def synthetic(n_patches: int, n_images: int, n_tokens: int, n_texts: int) -> Inputs:
    """Return coalitions, values and weights of a synthetic dual encoder with 64-dimensional embeddings."""
    rng = np.random.default_rng(0)
    images, texts = sample_coalitions(n_patches, n_images), sample_coalitions(n_tokens, n_texts)

    def embed(kept: np.ndarray) -> np.ndarray:
        hidden = np.tanh(kept @ rng.normal(size=(kept.shape[1], 128)) + rng.normal(size=128))
        raw = hidden @ rng.normal(size=(128, 64))
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    return images.kept, texts.kept, 100 * embed(images.kept) @ embed(texts.kept).T, images.weights, texts.weights


def measure(threads: int, *, quick: bool, note: Callable[[str], None] = lambda text: None) -> list[FitCost]:
    """Measure the fits of a grid of sizes; the naive one where its design takes less than 0.2 (quick) or 3 GB."""
    most = 2e8 if quick else 3e9
    clock = Clock(torch.device("cpu"), threads)  # the fit is numpy's, wherever the encoder is
    rows: list[FitCost] = []
    for grid in _grids(quick):
        note(f"fit: {grid.pairs} pairs, {grid.n_patches} patches, {grid.n_images} x {TEXTS} coalitions")
        rows += _costs(clock, grid, with_naive=_design_bytes(grid) < most)
    return rows


def _costs(clock: Clock, grid: _Grid, *, with_naive: bool) -> list[FitCost]:
    inputs = synthetic(grid.n_patches, grid.n_images, N_TOKENS, TEXTS)
    found: dict[str, Fitted] = {}

    def ours() -> None:
        found["ours"] = fixlip.fit(*inputs, pairs="all" if grid.pairs == "all" else "cross")

    def naively() -> None:
        found["naive"] = naive.dense_fit(*inputs, cross_only=grid.pairs == "cross")

    ways = {"naive": naively, "ours": ours} if with_naive else {"ours": ours}
    megabytes = {way: _megabytes(fit) for way, fit in ways.items()}
    seconds = in_turn(clock, ways, 3)
    return [
        FitCost(
            against=grid.against,
            way=way,
            pairs=grid.pairs,
            n_patches=grid.n_patches,
            n_players=grid.n_patches + N_TOKENS,
            budget=grid.n_images * TEXTS,
            seconds=Spread.of(took),
            megabytes=megabytes[way],
            difference=difference(found["ours"], found["naive"]) if with_naive and way == "ours" else None,
        )
        for way, took in seconds.items()
    ]


def difference(ours: Fitted, theirs: Fitted) -> float:
    """Return the largest difference of any coefficient, as a share of the largest of all."""
    gap = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(ours, theirs, strict=True))
    return gap / max(float(np.abs(np.asarray(b)).max()) for b in theirs)


def _megabytes(fit: Callable[[], object]) -> float:
    """Return the most that arrays take during a fit; numpy tells tracemalloc of each."""
    tracemalloc.start()
    try:
        fit()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _grids(quick: bool) -> Iterator[_Grid]:
    sides, budgets = ((4, 7), (256, 512)) if quick else ((4, 7, 10, 14, 24), (256, 512, 1024, 2048, 4096))
    for side in sides:
        yield _Grid("players", "cross", side**2, 512 if quick else 2048)
    for budget in budgets:
        yield _Grid("budget", "cross", 49, budget)
    for side in (3, 4) if quick else (3, 5, 7, 9):  # the design needs more coalitions than one side has pairs
        yield _Grid("players", "all", side**2, 4096 if side > 7 else 2048 if side > 4 else 512)


def _design_bytes(grid: _Grid) -> float:
    """Return what the written-out design and its weighted copy take."""
    n = grid.n_patches + N_TOKENS
    pairs = grid.n_patches * N_TOKENS if grid.pairs == "cross" else n * (n - 1) // 2
    return 2 * 8.0 * (1 + n + pairs) * grid.n_images * TEXTS
