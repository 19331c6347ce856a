"""Speed and memory against the authors' way of computing (``benchmark.speed.naive``): same machine, same result.

``python scripts/speed.py`` prints a table, ``--json FILE`` also writes the numbers; some minutes. ``--quick`` computes tiny
cases in this process, for a test of the results alone. Every measurement has a process of its own, the two ways take
turns, and the median counts. A time is the processor time of one thread, which other work on the machine disturbs least
(with ``--threads`` of more than one it is wall-clock time); memory is what the first call adds to the peak.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmark.data.base import Sample
from benchmark.data.scenes import Scenes
from benchmark.encoders import DualEncoder, Pair, load_encoder, wrap_encoder
from benchmark.explainers import fixlip
from benchmark.explainers.exclip import ExClip
from benchmark.games.sampling import sample_coalitions
from benchmark.games.similarity import SimilarityGame
from benchmark.speed import naive
from benchmark.speed.fits import synthetic

Arrays = dict[str, np.ndarray]
TOLERANCE = 1e-4  # of the largest value
LONG = 60.0  # seconds from which the naive way is run once only


@dataclass(frozen=True)
class Case:
    """One comparison; ``naive`` and ``ours`` prepare a size ("full" or "quick") and return what is timed."""

    title: str
    naive: Callable[[str], Callable[[], Arrays]]
    ours: Callable[[str], Callable[[], Arrays]]
    faster: float  # wanted
    smaller: float | None = None  # wanted, memory
    calls: int = 3  # of ours in one process


# -- the regression alone ---------------------------------------------------------------------------------------------


@cache
def fit_inputs(size: str) -> tuple[np.ndarray, ...]:
    """Return coalitions, values and weights of a synthetic dual encoder with 64-dimensional embeddings."""
    (n_patches, n_images), (n_tokens, n_texts) = ((49, 2048), (8, 64)) if size == "full" else ((6, 50), (4, 14))
    return synthetic(n_patches, n_images, n_tokens, n_texts)


def named(fitted: tuple[float, np.ndarray, np.ndarray | None]) -> Arrays:
    empty, main, pairs = fitted
    assert pairs is not None
    return {"empty": np.array([empty]), "main": main, "pairs": pairs}


def block(fitted: tuple[float, np.ndarray, np.ndarray | None], size: str) -> Arrays:
    """Return the patch-token pairs alone: the same with and without other pairs in the fit."""
    n_patches = fit_inputs(size)[0].shape[1]
    return {"block": named(fitted)["pairs"][:n_patches, n_patches:]}


def naive_fit(size: str, *, cross_only: bool = False) -> Callable[[], Arrays]:
    inputs = fit_inputs(size)
    return lambda: named(naive.dense_fit(*inputs, cross_only=cross_only))


def our_fit(size: str, *, cross_only: bool = False) -> Callable[[], Arrays]:
    inputs = fit_inputs(size)
    return lambda: named(fixlip.fit(*inputs, pairs="cross" if cross_only else "all"))


def naive_block(size: str) -> Callable[[], Arrays]:
    inputs = fit_inputs(size)
    return lambda: block(naive.dense_fit(*inputs), size)


def our_block(size: str) -> Callable[[], Arrays]:
    inputs = fit_inputs(size)
    return lambda: block(fixlip.fit(*inputs, pairs="cross"), size)


# -- FIxLIP end to end ------------------------------------------------------------------------------------------------


@cache
def embedded() -> DualEncoder:
    return load_encoder("embedded", device="cpu")


@cache
def scene(n_tokens: int) -> Sample:
    """Return the first scene whose caption has that many tokens."""
    return next(s for s in Scenes().samples("captions", 200) if len(embedded().tokenize(s.text).positions) == n_tokens)


def settings(size: str) -> tuple[fixlip.Fixlip, Sample]:
    if size == "full":
        return fixlip.Fixlip(image_budget=2048, text_budget=64, pairs="all"), scene(8)
    return fixlip.Fixlip(image_budget=100, text_budget=16, pairs="cross"), scene(4)


def our_fixlip(size: str) -> Callable[[], Arrays]:
    encoder, (method, sample) = embedded(), settings(size)

    def run() -> Arrays:
        game = SimilarityGame(encoder, encoder.pair(sample.load_image(), sample.text))  # a new one: it remembers embeddings
        found = method.explain_game(game, np.random.default_rng(0)).players
        assert found is not None
        return named((found.empty, found.main, found.pairs))

    return run


def naive_fixlip(size: str) -> Callable[[], Arrays]:
    encoder, (method, sample) = embedded(), settings(size)
    model, scale = encoder.model, encoder.logit_scale
    with patch.object(fixlip, "sample_coalitions", wraps=sample_coalitions) as sampler:  # the suite's own two designs
        game = SimilarityGame(encoder, encoder.pair(sample.load_image(), sample.text))
        replace(method, pairs="cross").explain_game(game, np.random.default_rng(0))
    designs = sampler.call_args_list

    def run() -> Arrays:
        pair = encoder.pair(sample.load_image(), sample.text)
        images, texts = (sample_coalitions(*call.args, **call.kwargs) for call in designs)
        ids = pair.input_ids[:, : pair.token_positions[-1] + 2]
        logits = naive.all_logits(model, pair.pixel_values, ids, pair.token_positions, images.kept, texts.kept)
        inputs = images.kept, texts.kept, logits / scale, images.weights, texts.weights
        return named(naive.dense_fit(*inputs, cross_only=method.pairs == "cross"))

    return run


# -- exCLIP -----------------------------------------------------------------------------------------------------------


@cache
def clip(size: str) -> tuple[Any, DualEncoder, Pair]:
    """Return a CLIP with random weights, of ViT-B/32's size unless "quick", and a pair of noise and ten tokens."""
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "projection_dim": 16}
    quick = {"text_config": small, "vision_config": small | {"image_size": 64}, "projection_dim": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = CLIPModel(CLIPConfig(**(quick if size == "quick" else {}))).eval().requires_grad_(False)
        pixels = torch.randn(1, 3, *[model.config.vision_config.image_size] * 2)
        ids = torch.cat([torch.tensor([[49406]]), torch.randint(1000, 40000, (1, 10)), torch.tensor([[49407]])], dim=1)
    encoder = wrap_encoder(model, name=size)
    return model, encoder, encoder.pair_from_tensors(pixels, ids)


def naive_exclip(size: str) -> Callable[[], Arrays]:
    model, _, pair = clip(size)
    return lambda: {"scores": naive.exclip(model, pair.pixel_values, pair.input_ids, ExClip().steps)}


def our_exclip(size: str) -> Callable[[], Arrays]:
    _, encoder, pair = clip(size)
    return lambda: {"scores": ExClip().attribute(encoder, pair).matrix}


CASES = {
    "fit": Case("FIxLIP fit, all pairs", naive_fit, our_fit, faster=40, smaller=30, calls=5),
    "fit-cross": Case(
        "FIxLIP fit, patch-token pairs only",
        partial(naive_fit, cross_only=True),
        partial(our_fit, cross_only=True),
        faster=1000,
        smaller=30,
        calls=50,
    ),
    "fit-block": Case(
        "their scores alone, out of the fit of all pairs",
        naive_block,
        our_block,
        faster=1000,
        smaller=30,
        calls=50,
    ),
    "fixlip": Case("FIxLIP end to end, embedded encoder", naive_fixlip, our_fixlip, faster=5),
    "exclip": Case("exCLIP, ViT-B/32 size", naive_exclip, our_exclip, faster=5, calls=5),
}


# -- measuring --------------------------------------------------------------------------------------------------------


def peak(reset: bool = False) -> int:
    """Return the most memory this process has held since the last reset, in bytes (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def timed(name: str, side: str, threads: int) -> tuple[list[float], int, Arrays]:
    """Run in a process of its own: the first call gives the memory, and the time too if there is no other."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    run = getattr(CASES[name], side)("full")
    before, start = peak(reset=True), clock()
    result = run()
    seconds, grown = [clock() - start], peak() - before
    for number in range(CASES[name].calls if side == "ours" else 0):
        start = clock()
        run()
        seconds[number:] = [clock() - start]  # the first of these takes the place of the cold call
    return seconds, grown, result


def measure(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """Let the two ways take turns, each time in a new process."""
    seconds: dict[str, list[float]] = {"naive": [], "ours": []}
    memory: dict[str, list[int]] = {"naive": [], "ours": []}
    results: dict[str, Arrays] = {}
    for number in range(rounds):
        for side in ("naive", "ours"):
            if side == "naive" and number and seconds["naive"][0] > LONG:
                continue  # a run of minutes needs no repetition
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                found, grown, results[side] = process.submit(timed, name, side, threads).result()
            seconds[side] += found
            memory[side].append(grown)
    summary = {side: {"seconds": median(seconds[side]), "megabytes": median(memory[side]) / 1e6} for side in seconds}
    return summary | {"difference": difference(results["naive"], results["ours"]), "threads": threads}


def difference(theirs: Arrays, ours: Arrays) -> float:
    """Return the largest difference of any number, as a share of the largest number of all."""
    largest = max(float(np.abs(array).max()) for array in theirs.values())
    return max(float(np.abs(theirs[name] - ours[name]).max()) for name in theirs) / largest


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| | naive | ours | faster (wanted) | naive, memory | ours, memory | smaller (wanted) | largest difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in found.items():
        case, theirs, ours = CASES[name], row["naive"], row["ours"]
        faster, smaller = theirs["seconds"] / ours["seconds"], theirs["megabytes"] / max(ours["megabytes"], 0.1)
        wanted = f" ({case.smaller:.0f})" if case.smaller else ""
        lines.append(
            f"| {case.title} | {theirs['seconds']:.3g} s | {ours['seconds']:.3g} s | {faster:,.0f} x ({case.faster:,.0f}) "
            f"| {theirs['megabytes']:,.0f} MB | {ours['megabytes']:,.1f} MB | {smaller:,.0f} x{wanted} "
            f"| {row['difference']:.0e} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Measure this one only; repeatable.")
@click.option("--rounds", default=2, show_default=True, help="Processes of each way; the median counts.")
@click.option("--threads", default=1, show_default=True, help="Threads of every process.")
@click.option("--quick", is_flag=True, help="Compare results on tiny cases; no times.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the numbers here too.")
def main(names: tuple[str, ...], rounds: int, threads: int, quick: bool, path: Path | None) -> None:
    if quick:
        gaps = {name: difference(CASES[name].naive("quick")(), CASES[name].ours("quick")()) for name in names or CASES}
        click.echo(json.dumps(gaps))
        agreed = max(gaps.values()) <= TOLERANCE
    else:
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ[f"{library}_NUM_THREADS"] = str(threads)  # read by the new processes when they start
        found = {name: measure(name, rounds, threads) for name in names or CASES}
        click.echo(table(found))
        if path is not None:
            path.write_text(json.dumps(found, indent=2) + "\n")
        agreed = max(row["difference"] for row in found.values()) <= TOLERANCE
    if not agreed:
        raise SystemExit(f"the two ways differ by more than {TOLERANCE:g} of the largest value")


if __name__ == "__main__":
    main()
