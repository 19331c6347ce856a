"""What was tried to make the game faster on a CPU: the same work under one setting after another."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.games.similarity import SimilarityGame
from benchmark.runner.encoders import available_cores
from benchmark.speed.encoders import SIZES, random_encoder
from benchmark.speed.timing import Clock, Spread, in_turn, ratio

BASE = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Image coalitions per second of ``mask_pixels`` under a setting; ``gain`` is the speed as a multiple of the default's."""

    size: str
    setting: str
    per_second: Spread
    gain: Spread


def measure(clock: Clock, size: str, *, quick: bool, note: Callable[[str], None] = lambda text: None) -> list[Setting]:
    """Measure the settings in turn; threads are timed on the wall's clock, the others on ``clock``."""
    note(f"settings: {size}")
    encoder = random_encoder(SIZES[size], clock.device, size)
    n = 64 if size == "embedded" else 16
    generator = torch.Generator().manual_seed(0)
    pair = encoder.pair_from_tensors(torch.randn(1, 3, *encoder.frame_size, generator=generator), encoder.probe_ids())
    half = np.random.default_rng(0).random((n, encoder.n_patches)).argsort(axis=1) < encoder.n_patches // 2

    def game(around: Callable[[], AbstractContextManager[object]] = nullcontext, **settings: object) -> Callable[[], object]:
        def run() -> None:
            with around():
                SimilarityGame(encoder, pair, **settings).embed_images(half)  # pyright: ignore[reportArgumentType]  # as named below

        return run

    convolution = encoder.model.vision_model.embeddings.patch_embedding  # pyright: ignore[reportAttributeAccessIssue]  # Hugging Face's
    contenders = {
        BASE: game(),
        "inference_mode": game(torch.inference_mode),
        "bfloat16": game(precision="bfloat16"),
        **{f"batches of {batch}": game(batch_size=batch) for batch in (4, 16, 64) if batch <= n},
    }
    repeats = 2 if quick else 5
    seconds = in_turn(clock, contenders, repeats)
    rows = [
        Setting(
            size=size,
            setting=name,
            per_second=Spread.of([n / each for each in took]),
            gain=ratio(seconds[BASE], took),
        )
        for name, took in seconds.items()
    ]
    frames = torch.randn(16, 3, *encoder.frame_size, generator=generator)
    last = frames.to(memory_format=torch.channels_last)
    with torch.no_grad():
        patches = in_turn(clock, {"first": lambda: convolution(frames), "last": lambda: convolution(last)}, repeats)
    rows.append(
        Setting(
            size=size,
            setting="patch convolution alone, channels last (once per pair)",
            per_second=Spread.of([16 / each for each in patches["last"]]),
            gain=ratio(patches["first"], patches["last"]),
        )
    )
    return rows + _threads(clock, size, game(), n, repeats)


def _threads(clock: Clock, size: str, run: Callable[[], object], n: int, repeats: int) -> list[Setting]:
    """Time one game with more and more threads."""
    counts = sorted({1, *(2**k for k in range(1, 7) if 2**k <= available_cores()), available_cores()})
    wall = replace(clock, threads=0)

    def with_threads(count: int) -> Callable[[], None]:
        def work() -> None:
            torch.set_num_threads(count)
            run()

        return work

    before = torch.get_num_threads()
    try:
        seconds = in_turn(wall, {str(count): with_threads(count) for count in counts}, repeats)
    finally:
        torch.set_num_threads(before)
    return [
        Setting(
            size=size,
            setting=f"{count} thread{'s' if count != '1' else ''}, wall clock",
            per_second=Spread.of([n / each for each in took]),
            gain=ratio(seconds["1"], took),
        )
        for count, took in seconds.items()
    ]
