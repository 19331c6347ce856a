"""What every method costs per pair, and how many pairs an hour takes from the image file to the stored scores."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import torch

from benchmark.data.scenes import Scenes
from benchmark.encoders import load_encoder
from benchmark.errors import BenchmarkError
from benchmark.explainers import fixlip
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.explainers.image_sides import ImageSides
from benchmark.games.sampling import sample_coalitions
from benchmark.games.similarity import SimilarityGame
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.measure import metered
from benchmark.runner.plan import Request
from benchmark.runner.run import run
from benchmark.speed import naive
from benchmark.speed.encoders import SIZES, random_encoder
from benchmark.speed.fits import Fitted, difference
from benchmark.speed.timing import Clock, Spread, in_turn, ratio

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder, Pair

LARGE = 150.0
"""Forwards per pair up to which a method is measured on a large encoder on a CPU too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCost:
    """One method with default parameters: seconds and passes per pair, and the seconds in library forward passes of a pair.

    ``reason`` says why nothing was measured; then the numbers are ``None``.
    """

    encoder: str
    method: str
    seconds: Spread | None = None
    library_passes: float | None = None
    forwards: float | None = None
    backwards: float | None = None
    megabytes: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Pairs per hour of one way of doing the same work; ``of_naive`` is the speed as a multiple of the naive way's.

    ``way`` is "ours", "naive", or "library": every masked image and text through the library once, and nothing else.
    ``difference`` is that of our values and the naive ones, as a share of the largest.
    """

    work: str
    encoder: str
    way: str
    pairs_per_hour: Spread
    of_naive: Spread | None = None
    difference: float | None = None


# -- methods ----------------------------------------------------------------------------------------------------------


def explainers(names: Sequence[str]) -> Iterator[Explainer]:
    """Yield the named methods, or all that need no truth, with default parameters."""
    catalogue.register()
    for name in names or list(EXPLAINERS):
        kind = EXPLAINERS[name]
        if not kind.reads_truth:
            yield kind()


def measure(
    clock: Clock, names: Sequence[str], *, n_pairs: int, large: bool, note: Callable[[str], None] = lambda text: None
) -> list[MethodCost]:
    """Measure methods on the embedded encoder and scenes, and (``large``) the cheap ones at ViT-B/32's size on noise."""
    encoder = load_encoder("embedded", device=str(clock.device))
    pairs = [encoder.pair(sample.load_image(), sample.text) for sample in Scenes().samples("captions", n_pairs)]
    rows: list[MethodCost] = []
    for explainer in explainers(names):
        note(f"method: {explainer.name}, embedded encoder")
        rows.append(_cost(clock, explainer, encoder, pairs))
    if not large:
        return rows
    big = random_encoder(SIZES["vit-b-32"], clock.device, "vit-b-32")
    noise = torch.randn(1, 3, *big.frame_size, generator=torch.Generator().manual_seed(0))
    pair = big.pair_from_tensors(noise, torch.tensor([[126, *range(10, 20), 127]]))
    for explainer, small in zip(list(explainers(names)), list(rows), strict=True):
        if clock.device.type == "cpu" and (small.forwards or 0) + (small.backwards or 0) > LARGE:
            reason = f"more than {LARGE:.0f} passes per pair take too long on this device"
            rows.append(MethodCost(encoder="vit-b-32", method=explainer.name, reason=reason))
        else:
            note(f"method: {explainer.name}, ViT-B/32")
            rows.append(_cost(clock, explainer, big, [pair]))
    return rows


def _cost(clock: Clock, explainer: Explainer, encoder: "DualEncoder", pairs: Sequence["Pair"]) -> MethodCost:
    refusal = explainer.unsupported(encoder)
    if refusal is not None:
        return MethodCost(encoder=encoder.name, method=explainer.name, reason=refusal)

    def library() -> None:
        with torch.no_grad():
            encoder.library_image_embeddings(pairs[0].pixel_values)
            encoder.library_text_embeddings(encoder.trim(pairs[0].input_ids))

    before = encoder.costs.copy()
    seconds: list[float] = []
    megabytes = 0.0
    try:
        for number, pair in enumerate([pairs[0], *pairs]):  # the first warms up
            with patch.object(fixlip, "IMAGE_SIDES", ImageSides()), metered(encoder) as meter:  # nothing is remembered
                took = clock.time(partial(explainer.explain, encoder, pair, np.random.default_rng(0)))
            if number:
                seconds.append(took)
                megabytes = max(megabytes, meter.cost.peak_mb or 0.0)
            else:
                before = encoder.costs.copy()
    except BenchmarkError as error:
        return MethodCost(encoder=encoder.name, method=explainer.name, reason=str(error))
    spent = encoder.costs - before
    bare = Spread.of(in_turn(clock, {"library": library}, 5)["library"]).median
    return MethodCost(
        encoder=encoder.name,
        method=explainer.name,
        seconds=Spread.of(seconds),
        library_passes=Spread.of(seconds).median / bare,
        forwards=(spent.image_forwards + spent.text_forwards) / len(pairs),
        backwards=spent.backwards / len(pairs),
        megabytes=megabytes,
    )


# -- end to end -------------------------------------------------------------------------------------------------------


def end_to_end(clock: Clock, *, quick: bool, note: Callable[[str], None] = lambda text: None) -> list[EndToEnd]:
    """Measure FIxLIP from a preprocessed pair to its coefficients in three ways, and whole runs with scores and a store."""
    note("end to end: FIxLIP, embedded encoder")
    encoder = load_encoder("embedded", device=str(clock.device))
    sample = next(s for s in Scenes().samples("captions", 200) if len(encoder.tokenize(s.text).positions) == 8)
    pair = encoder.pair(sample.load_image(), sample.text)
    repeats = 2
    method = fixlip.Fixlip(image_budget=256 if quick else 2048, text_budget=32 if quick else 64, pairs="cross")
    if not quick:
        method = replace(method, pairs="all")
    rows = fixlip_in_three_ways(clock, encoder, pair, method, repeats)
    if clock.device.type == "cuda" and not quick:
        note("end to end: FIxLIP, ViT-B/32")
        big = random_encoder(SIZES["vit-b-32"], clock.device, "vit-b-32")
        noise = torch.randn(1, 3, *big.frame_size, generator=torch.Generator().manual_seed(0))
        made = big.pair_from_tensors(noise, torch.tensor([[126, *range(10, 20), 127]]))
        rows += fixlip_in_three_ways(clock, big, made, replace(method, image_budget=2**13), 1)
    for name in ("grad_eclip", "occlusion") if quick else ("grad_eclip", "occlusion", "rise", "fixlip"):
        note(f"end to end: a run of {name}")
        n = 3 if name in ("rise", "fixlip") else 6
        took = clock.time(partial(_run, name, n, str(clock.device)))
        hourly = Spread.of([3600 * n / took])
        rows.append(
            EndToEnd(
                work=f"run, {name}: data, explanation, scores, store", encoder="embedded", way="ours", pairs_per_hour=hourly
            )
        )
    return rows


def fixlip_in_three_ways(
    clock: Clock, encoder: "DualEncoder", pair: "Pair", method: fixlip.Fixlip, repeats: int
) -> list[EndToEnd]:
    """Let ours, the naive way and the bare library take turns on the same coalitions."""
    with patch.object(fixlip, "sample_coalitions", wraps=sample_coalitions) as sampler:
        method.explain_game(SimilarityGame(encoder, pair), np.random.default_rng(0))
    images, texts = (sample_coalitions(*call.args, **call.kwargs) for call in sampler.call_args_list[:2])
    ids = encoder.trim(pair.input_ids)
    found: dict[str, Fitted] = {}

    def ours() -> None:
        players = method.explain_game(SimilarityGame(encoder, pair), np.random.default_rng(0)).players
        assert players is not None
        found["ours"] = players.empty, players.main, players.pairs

    @torch.no_grad()
    def library() -> None:
        for kept in torch.arange(len(images.kept)).split(64):
            encoder.library_image_embeddings(pair.pixel_values.expand(len(kept), -1, -1, -1))
        encoder.library_text_embeddings(ids.expand(len(texts.kept), -1))

    def naively() -> None:
        logits = naive.all_logits(encoder.model, pair.pixel_values, ids, pair.token_positions, images.kept, texts.kept)  # pyright: ignore[reportAttributeAccessIssue]  # both encoders are Hugging Face's
        inputs = images.kept, texts.kept, logits / encoder.logit_scale, images.weights, texts.weights
        found["naive"] = naive.dense_fit(*inputs, cross_only=method.pairs == "cross")

    seconds = in_turn(clock, {"naive": naively, "ours": ours, "library": library}, repeats - 1)
    gap = difference(found["ours"], found["naive"])
    return [
        EndToEnd(
            work=f"FIxLIP, {len(images.kept)} x {len(texts.kept)} coalitions",
            encoder=encoder.name,
            way=way,
            pairs_per_hour=Spread.of([3600 / each for each in took]),
            of_naive=ratio(seconds["naive"], took),
            difference=gap if way == "ours" else None,
        )
        for way, took in seconds.items()
    ]


def _run(method: str, limit: int, device: str) -> None:
    request = Request(methods=catalogue.methods(method), tasks=catalogue.tasks("scenes-pointing"), limit=limit)
    with tempfile.TemporaryDirectory() as folder:
        run(request, [EncoderSource(name="embedded", device=device)], Path(folder) / "store.duckdb", workers=1)
