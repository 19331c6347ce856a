"""Image coalitions per second: the game beside the bare library forward pass, a naive way, and the device's peak."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.encoders.precision import HALF, Precision, computing
from benchmark.games.similarity import SimilarityGame
from benchmark.speed import naive
from benchmark.speed.encoders import SIZES, random_encoder
from benchmark.speed.timing import Clock, Spread, in_turn, ratio

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One way of encoding masked images at one size.

    ``library`` is the library's own forward pass of as many images, without any masking; ``naive`` repaints pixels for every
    coalition and calls it; ``mask_pixels`` and ``drop_tokens`` are the game's, half of the patches kept. ``of_library`` is the
    speed as a multiple of the library's; ``operations`` are floating point operations per image inside matrix products as
    executed (what a way saves is not counted), and ``of_peak`` is their rate as a share of the measured peak.
    """

    size: str
    precision: Precision
    way: str
    batch: int
    per_second: Spread
    of_library: Spread
    operations: float
    of_peak: float


def peak(clock: Clock, precision: Precision) -> float:
    """Return floating point operations per second of a large square matrix product in a precision, the best of several."""
    n = 8192 if clock.device.type == "cuda" else 2048
    kind = HALF.get(precision, torch.float32)
    left, right = (torch.randn(n, n, device=clock.device).to(kind) for _ in range(2))
    with torch.no_grad(), computing("tf32" if precision == "tf32" else "float32", clock.device):
        seconds = min(clock.time(lambda: left @ right) for _ in range(6))
    return 2 * n**3 / seconds


def measure(
    clock: Clock, size: str, precisions: Sequence[Precision], peaks: dict[Precision, float], *, batch: int, repeats: int
) -> list[Throughput]:
    """Measure every way at one size in every precision."""
    encoder = random_encoder(SIZES[size], clock.device, size)
    rows: list[Throughput] = []
    for precision in precisions:
        ways = contenders(encoder, precision, batch)
        counted = {name: operations(way) / batch for name, way in ways.items()}
        seconds = in_turn(clock, ways, repeats)
        for name, took in seconds.items():
            speed = Spread.of([batch / each for each in took])
            rows.append(
                Throughput(
                    size=size,
                    precision=precision,
                    way=name,
                    batch=batch,
                    per_second=speed,
                    of_library=ratio(seconds["library"], took),
                    operations=counted[name],
                    of_peak=speed.median * counted[name] / peaks[precision],
                )
            )
    return rows


def contenders(encoder: "DualEncoder", precision: Precision, batch: int) -> dict[str, Callable[[], torch.Tensor | np.ndarray]]:
    """Return each way of encoding one batch of masked images; all but ``library`` and ``drop_tokens`` give the same."""
    rng = np.random.default_rng(0)
    half = rng.random((batch, encoder.n_patches)).argsort(axis=1) < encoder.n_patches // 2
    generator = torch.Generator().manual_seed(0)
    pixel_values = torch.randn(batch, 3, *encoder.frame_size, generator=generator).to(encoder.device)
    pair = encoder.pair_from_tensors(pixel_values[:1], encoder.probe_ids())

    @torch.no_grad()
    def library() -> torch.Tensor:
        with computing(precision, encoder.device):
            return encoder.library_image_embeddings(pixel_values)

    @torch.no_grad()
    def repainted() -> torch.Tensor:
        with computing(precision, encoder.device):
            return encoder.library_image_embeddings(naive.repainted(pair.pixel_values, half))

    def game(removal: str) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:  # a new game every time: it remembers embeddings
            return SimilarityGame(encoder, pair, removal, batch_size=batch, precision=precision).embed_images(half)

        return run

    return {
        "library": library,
        "naive": repainted,
        "mask_pixels": game("mask_pixels"),
        "drop_tokens": game("drop_tokens"),
    }


def operations(work: Callable[[], object]) -> float:
    """Return the floating point operations of all matrix products, convolutions and attentions that ``work`` executes."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return float(counter.get_total_flops())
