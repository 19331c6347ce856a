"""Remove and retrain (ROAR, 1806.10758): ``python -m benchmark.embedded.roar --method grad_eclip --fraction .5``.

Explains training and held-out pairs of ``scenes``, sets the highest-ranked patches to the normalised zero in both, trains on
the degraded pairs, and measures retrieval on the degraded held-out pairs: the share of images whose most similar text among
all held-out ones is true of them. Lower is better: what was removed had carried the answer. A random order is trained beside
every method, since only the difference says something; ``--start scratch`` is ROAR, ``--start checkpoint`` (ROAR+, after M2IB)
starts from the embedded encoder.

Optional, and no task of a leaderboard: one number costs ``pairs`` explanations and a training run, and one seed says little
about a difference. Measured on one core of a busy machine: 0.63 s for a training step of 64 pairs, 0.017 s to explain a pair
with ``grad_eclip``. By that, 1,000 + 500 pairs and 500 steps take 6 minutes for every fraction of a method, and 10,000 steps
from scratch about 2 hours. The command prints what its own run took.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import click
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from transformers import CLIPModel

from benchmark.data.base import Sample
from benchmark.data.generated import GeneratedSet
from benchmark.data.grammar import Statements, Things, pack, slots, truth
from benchmark.data.scenes import Scenes
from benchmark.embedded.model import FOLDER, embed_images, embed_texts, initial_model, normalise, zero_patches
from benchmark.embedded.train import contrast
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation
from benchmark.runner.catalogue import label, methods, register
from benchmark.runner.encoders import EncoderSource

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

Start = Literal["checkpoint", "scratch"]
RATES: dict[Start, float] = {"checkpoint": 2e-4, "scratch": 1.2e-3}
_BATCH = 50  # of embedding without gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a result depends on, beside the method."""

    pairs: int = 1000  # to train on
    held_out: int = 500
    steps: int = 500
    batch: int = 64
    start: Start = "checkpoint"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Images with one phrase each, in the coding in which any phrase can be judged against any image."""

    samples: Sequence[Sample]
    pixels: UInt8[np.ndarray, "image row column 3"]
    things: Things
    statements: Statements

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One point of the curve; ``accuracy`` is at ``chance`` for an encoder that knows nothing."""

    method: str
    fraction: float
    accuracy: float
    chance: float
    n: int
    seconds_explaining: float
    seconds_training: float


def phrase_pairs(data: GeneratedSet, start: int, count: int) -> Pairs:
    """Return pairs ``start`` to ``start + count`` of the view ``phrases``; none was seen when the encoder was trained."""
    samples = data.samples("phrases", start + count)
    indices = samples.indices[start:]
    rendered = data.draw(indices)
    statements = data.phrase_statements(rendered, indices)
    return Pairs(samples=samples[start:], pixels=rendered.pixels, things=rendered.things, statements=statements)


def rankings(encoder: "DualEncoder", explainer: Explainer, pairs: Pairs, seed: int) -> Int[np.ndarray, "image patch"]:
    """Return the patches of every image in the order of its explanation, most important first; ties fall at random."""
    orders: list[np.ndarray] = []
    for number, sample in enumerate(pairs.samples):
        rng = np.random.default_rng([seed, number])
        found = explainer.explain(encoder, encoder.pair(sample.load_image(), sample.text), rng)
        visit = rng.permutation(encoder.n_patches)
        orders.append(visit[np.argsort(-_map(found)[visit], kind="stable")])
    return np.stack(orders)


def _map(explanation: Explanation) -> Float[np.ndarray, " patch"]:
    if explanation.image is not None:
        return explanation.image.ravel()
    if explanation.cross is None:
        raise InvalidInput("this method says nothing of patches; remove and retrain needs a map over the image")
    return explanation.cross.sum(axis=2).ravel()


def kept(orders: Int[np.ndarray, "image patch"], fraction: float) -> Bool[np.ndarray, "image patch"]:
    """Return what is left of every image without the first ``fraction`` of its patches, rounded to whole patches.

    >>> kept(np.array([[2, 0, 1, 3]]), 0.5).tolist()
    [[False, True, False, True]]
    """
    if not 0 <= fraction <= 1:
        raise InvalidInput(f"the fraction of patches to remove lies in 0 to 1, not at {fraction}")
    n_removed = round(fraction * orders.shape[1])
    return np.argsort(orders, axis=1) >= n_removed


def train(model: CLIPModel, pairs: Pairs, keep: Bool[np.ndarray, "image patch"], settings: Settings) -> CLIPModel:
    """Train on degraded images and whole texts: every text of a batch that is true of an image against all that are false."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    peak = RATES[settings.start]
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    model.train()
    for step in range(settings.steps):
        rows = rng.permutation(len(pairs))[: settings.batch]
        progress = step / settings.steps
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, 20 * progress + 0.05) * 0.5 * (1 + float(np.cos(np.pi * progress)))
        images = zero_patches(normalise(torch.from_numpy(pairs.pixels[rows])), torch.from_numpy(keep[rows]))
        texts = (torch.from_numpy(array) for array in pack(slots(pairs.statements.take(rows))))
        logits = model.logit_scale.exp() * embed_images(model, images) @ embed_texts(model, *texts).T
        labels = torch.from_numpy(truth(_take(pairs.things, rows), pairs.statements.take(rows)))
        loss = contrast(logits, labels) + contrast(logits.T, labels.T)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.inference_mode()
def retrieval(model: CLIPModel, pairs: Pairs, keep: Bool[np.ndarray, "image patch"]) -> tuple[float, float]:
    """Return the share of images whose most similar text is true of them, and that share for a random text.

    Texts of which it is unknown whether they are true of an image (it is half hidden) are not offered to it.
    """
    images: list[torch.Tensor] = []
    for start in range(0, len(pairs), _BATCH):
        part = slice(start, start + _BATCH)
        images.append(
            embed_images(model, zero_patches(normalise(torch.from_numpy(pairs.pixels[part])), torch.from_numpy(keep[part])))
        )
    texts = embed_texts(model, *(torch.from_numpy(array) for array in pack(slots(pairs.statements))))
    similarity = (torch.cat(images) @ texts.T).numpy()
    labels = truth(pairs.things, pairs.statements)
    best = np.where(labels >= 0, similarity, -np.inf).argmax(axis=1)
    known = (labels >= 0).sum(axis=1)
    return float((labels[np.arange(len(pairs)), best] == 1).mean()), float(((labels == 1).sum(axis=1) / known).mean())


def remove_and_retrain(
    encoder: "DualEncoder",
    explainers: Sequence[Explainer],
    fractions: Sequence[float],
    settings: Settings,
    begin: Callable[[Start], CLIPModel] | None = None,
    show: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Return one result per method and fraction; ``begin`` makes the model that is trained."""
    data = Scenes()
    held_out, pairs = phrase_pairs(data, 0, settings.held_out), phrase_pairs(data, settings.held_out, settings.pairs)
    results: list[Result] = []
    for explainer in explainers:
        began = time.perf_counter()
        orders = [rankings(encoder, explainer, part, settings.seed) for part in (pairs, held_out)]
        explaining = time.perf_counter() - began
        for fraction in fractions:
            began = time.perf_counter()
            model = train((begin or beginning)(settings.start), pairs, kept(orders[0], fraction), settings)
            training = time.perf_counter() - began
            accuracy, chance = retrieval(model, held_out, kept(orders[1], fraction))
            results.append(
                Result(
                    method=label(explainer),
                    fraction=fraction,
                    accuracy=accuracy,
                    chance=chance,
                    n=len(held_out),
                    seconds_explaining=round(explaining, 1),
                    seconds_training=round(training, 1),
                )
            )
            show(results[-1])
    return results


def beginning(start: Start) -> CLIPModel:
    """Return the embedded encoder in single precision, or its architecture with fresh weights."""
    if start == "checkpoint":
        return CLIPModel.from_pretrained(FOLDER, dtype=torch.float32)
    torch.manual_seed(0)
    return initial_model()


def _take(things: Things, rows: Int[np.ndarray, " image"]) -> Things:
    return Things(**{name: getattr(things, name)[rows] for name in ("attributes", "centres", "visible", "film")})


@click.command(help=__doc__)
@click.option("--method", "-m", default="grad_eclip", show_default=True, help="Methods, with commas; random is added.")
@click.option("--fraction", "fractions", type=float, multiple=True, default=(0.5,), show_default=True)
@click.option("--pairs", default=1000, show_default=True, help="Pairs to train on.")
@click.option("--held-out", default=500, show_default=True, help="Pairs to measure on.")
@click.option("--steps", default=500, show_default=True)
@click.option("--start", type=click.Choice(["checkpoint", "scratch"]), default="checkpoint", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="200 + 100 pairs and 60 steps: shows that it works, and no more.")
def main(
    method: str, fractions: tuple[float, ...], pairs: int, held_out: int, steps: int, start: Start, seed: int, quick: bool
) -> None:
    register()
    settings = Settings(pairs=pairs, held_out=held_out, steps=steps, start=start, seed=seed)
    if quick:
        settings = Settings(pairs=200, held_out=100, steps=60, start=start, seed=seed)
    encoder = EncoderSource(name="embedded", device="cpu").load()
    remove_and_retrain(encoder, methods(f"{method},random"), fractions, settings, show=_print)


def _print(result: Result) -> None:
    click.echo(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
