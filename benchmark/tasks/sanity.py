"""Whether an explanation depends on what it claims to explain: the weights, and the caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation
from benchmark.metrics import agreement
from benchmark.metrics.base import Score
from benchmark.tasks.base import Evaluation, Explained, Probe, Protocol, Task
from benchmark.tasks.probes import Depth, NonsenseCaption, OtherCaption, OtherSeed, Part, RandomisedEncoder

Heat = Float[np.ndarray, "row column"]
SCENES_CAPTIONS = (
    "a red star",
    "a blue circle and a green square",
    "a small yellow heart",
    "a pink moon above a brown cross",
    "a striped arrow left of a solid hourglass",
    "a large purple bolt",
    "a cyan diamond below a checked star",
    "a dotted moon and a blue arrow",
)
PHANTOMS_CAPTIONS = (
    "cardiomegaly",
    "a large pneumothorax",
    "a left upper opacity. no nodule",
    "a small right lower nodule",
    "a right effusion and a left line",
    "a middle opacity. no pneumothorax",
)
COCO_CAPTIONS = (
    "A man riding a wave on a surfboard.",
    "Two zebras graze in a dry field.",
    "A kitchen with a wooden table and a white refrigerator.",
    "A red double-decker bus drives down a city street.",
    "A plate of pizza next to a glass of wine.",
    "A cat sleeps on an open laptop.",
    "A woman swings a tennis racket on a clay court.",
    "An airplane parked on a runway under a cloudy sky.",
)
"""Captions of something else, one of them for every sample."""


@dataclass(frozen=True, kw_only=True)
class Sanity(Protocol):
    """How much of an explanation is left when the encoder forgets what it learned, or the caption is another one.

    ``cascade`` lists the randomised encoders, each a tower (or ``both``) and how far down from the top its weights are drawn
    anew; a tower's metric averages its depths, and every single value is a flag. ``both:projection`` redraws the two
    projections alone. A stochastic method is also asked once more under another seed: the contrasts set what randomisation
    leaves against what chance leaves, so that neither noise nor a fixed map passes.
    """

    captions: tuple[str, ...]
    cascade: tuple[tuple[Part, Depth], ...] = (
        ("image", "last"),
        ("image", "half"),
        ("image", "all"),
        ("text", "all"),
        ("both", "all"),
        ("both", "projection"),
    )

    @property
    def probes(self) -> tuple[Probe, ...]:
        encoders = (RandomisedEncoder(part, depth) for part, depth in self.cascade)
        return (*encoders, OtherCaption(self.captions), NonsenseCaption(), OtherSeed())

    @property
    def towers(self) -> dict[str, tuple[str, ...]]:
        """Return the probes that each tower's metric averages."""
        found: dict[str, tuple[str, ...]] = {}
        for part, depth in self.cascade:
            tower = "projection" if depth == "projection" else part
            found[tower] = (*found.get(tower, ()), RandomisedEncoder(part, depth).name)
        return found

    @property
    def metrics(self) -> tuple[str, ...]:
        return (
            "randomisation_contrast",
            *(f"randomisation_spearman_{tower}" for tower in self.towers),
            "randomisation_abs_spearman",
            "randomisation_ssim",
            "randomisation_spearman_tokens",
            "caption_contrast",
            "caption_spearman",
            "nonsense_spearman",
        )

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del explanation, evaluation
        return dict.fromkeys(self.metrics, "this task compares explanations of several encoders and captions; it needs a run")

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        scores: dict[str, Score | str] = dict.fromkeys(self.metrics, "this explanation has no map over the image")
        scores["randomisation_spearman_tokens"] = "this explanation has no scores for the text"
        randomised = [name for tower in self.towers.values() for name in tower]
        text = explained.explanation.text
        if text is not None:
            texts = {name: other for name in randomised if (other := probes[name].explanation.text) is not None}
            scores["randomisation_spearman_tokens"] = agreement.agreement(text, texts, agreement.spearman, chance=0.0)
        original = heat(explained.explanation)
        if original is not None:
            maps = {name: required_heat(probe.explanation) for name, probe in probes.items()}
            scores |= self._compare_maps(original, maps, randomised, evaluation)
        return scores

    def _compare_maps(
        self, original: Heat, maps: Mapping[str, Heat], randomised: Sequence[str], evaluation: Evaluation
    ) -> dict[str, Score]:
        unrelated = self.chance(evaluation)["randomisation_abs_spearman"]
        averaged: dict[str, tuple[Sequence[str], agreement.Measure, float]] = {
            **{f"randomisation_spearman_{tower}": (names, agreement.spearman, 0.0) for tower, names in self.towers.items()},
            "randomisation_abs_spearman": (randomised, agreement.absolute_spearman, unrelated),
            "randomisation_ssim": (randomised, agreement.ssim, 0.0),
            **{f"{name}_spearman": ([name], agreement.spearman, 0.0) for name in ("caption", "nonsense")},
        }
        scores = {
            metric: agreement.agreement(original, {name: maps[name] for name in names}, measure, chance=chance)
            for metric, (names, measure, chance) in averaged.items()
        }
        for metric, names in (("randomisation_contrast", randomised), ("caption_contrast", ["caption"])):
            scores[metric] = agreement.contrast(original, maps["seed"], {name: maps[name] for name in names})
        return scores

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        rows, columns = evaluation.encoder.patch_grid
        unrelated = agreement.unrelated_absolute_spearman(rows * columns)
        return dict.fromkeys(self.metrics, 0.0) | {"randomisation_abs_spearman": unrelated}


def heat(explanation: Explanation) -> Heat | None:
    """Return the map over patches: the image scores, or else the patch-token scores summed over tokens."""
    if explanation.image is None and explanation.cross is not None:
        return explanation.cross.sum(axis=2)
    return explanation.image


def required_heat(explanation: Explanation) -> Heat:
    """Return the map of a probe; a method that maps some pairs and not others cannot be compared with itself."""
    found = heat(explanation)
    if found is None:
        raise InvalidExplanation("the method gave a map over the image for the pair itself, but none for a changed one")
    return found


CAPTIONS = {"scenes": SCENES_CAPTIONS, "phantoms": PHANTOMS_CAPTIONS, "coco": COCO_CAPTIONS}


def declare(data: str, captions: tuple[str, ...], version: int = 1) -> Task:
    """Register ``<data>-sanity``; every sample of the view ``captions`` is set against one of these ``captions``."""
    return Task(
        id=f"{data}-sanity",
        version=version,
        data=data,
        view="captions",
        protocol=Sanity(captions=captions),
        summary="What is left of a map when weights are randomised or the caption is wrong; 8 more explanations a sample, "
        "9 of stochastic methods.",
    )


TASKS = tuple(declare(data, captions) for data, captions in CAPTIONS.items())
