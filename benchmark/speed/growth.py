"""How cost grows: with pairs, patches, tokens and the budget, and the slope of each on logarithmic axes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.data.scenes import Scenes
from benchmark.encoders import load_encoder
from benchmark.explainers.fixlip import Fixlip
from benchmark.explainers.occlusion import Occlusion
from benchmark.games.similarity import SimilarityGame
from benchmark.speed.encoders import Shape, random_encoder
from benchmark.speed.timing import Clock, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Seconds against one size; ``slope`` is the exponent of a power law through the medians, 1 for proportional."""

    against: str
    work: str
    sizes: tuple[int, ...]
    seconds: tuple[Spread, ...]
    slope: float


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the least-squares slope on logarithmic axes.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure(clock: Clock, *, quick: bool, note: Callable[[str], None] = lambda text: None) -> list[Growth]:
    """Measure all four."""
    repeats = 3
    found: list[Growth] = []
    for against, work, sizes, prepare in (
        ("samples", "occlusion, embedded encoder", (1, 2, 4, 8), _samples),
        ("patches", "64 image coalitions, width 192, 5 blocks", (16, 49, 100, 196, 400), _patches),
        ("tokens", "64 text coalitions, width 192, 5 blocks", (4, 8, 16, 32, 64), _tokens),
        ("budget", "FIxLIP, embedded encoder, image coalitions with 64 of the text", (128, 256, 512, 1024, 2048), _budget),
    ):
        note(f"growth with {against}")
        kept = sizes[:-1] if quick else sizes
        works = {size: prepare(clock, size) for size in kept}
        seconds: dict[int, list[float]] = {size: [] for size in kept}
        for turn in range(repeats + 1):
            for size, run in works.items():
                took = clock.time(run)
                if turn:
                    seconds[size].append(took)
        spreads = tuple(Spread.of(took) for took in seconds.values())
        medians = [spread.median for spread in spreads]
        found.append(Growth(against=against, work=work, sizes=kept, seconds=spreads, slope=slope(kept, medians)))
    return found


def _samples(clock: Clock, n: int) -> Callable[[], object]:
    encoder = load_encoder("embedded", device=str(clock.device))
    samples = Scenes().samples("captions", n)

    def run() -> None:
        for sample in samples:
            Occlusion().explain(encoder, encoder.pair(sample.load_image(), sample.text), np.random.default_rng(0))

    return run


def _patches(clock: Clock, n: int) -> Callable[[], object]:
    side = round(n**0.5)
    encoder = random_encoder(Shape(image=16 * side, patch=16, width=192, depth=5, heads=6), clock.device)
    pair = encoder.pair_from_tensors(torch.randn(1, 3, *encoder.frame_size), encoder.probe_ids())
    coalitions = np.random.default_rng(0).random((64, n)) < 0.5
    return lambda: SimilarityGame(encoder, pair).embed_images(coalitions)


def _tokens(clock: Clock, n: int) -> Callable[[], object]:
    shape = Shape(image=32, patch=16, width=192, depth=1, heads=6, text_depth=5, context=n + 2)
    encoder = random_encoder(shape, clock.device)
    ids = torch.tensor([[126, *(1 + np.arange(n) % 100), 127]])
    pair = encoder.pair_from_tensors(torch.randn(1, 3, *encoder.frame_size), ids)
    coalitions = np.random.default_rng(0).random((64, n)) < 0.5
    return lambda: SimilarityGame(encoder, pair).embed_texts(coalitions)


def _budget(clock: Clock, n: int) -> Callable[[], object]:
    encoder = load_encoder("embedded", device=str(clock.device))
    sample = Scenes().samples("captions", 1)[0]
    pair = encoder.pair(sample.load_image(), sample.text)
    method = Fixlip(image_budget=n, text_budget=64, pairs="cross")
    return lambda: method.explain_game(SimilarityGame(encoder, pair), np.random.default_rng(0))
