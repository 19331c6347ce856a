"""Whether an explanation stays as it is when the image changes in ways that do not matter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmark.explanations import Explanation
from benchmark.metrics import agreement
from benchmark.metrics.base import Score
from benchmark.tasks.base import Evaluation, Explained, Probe, Protocol, Task
from benchmark.tasks.probes import Crop, Jpeg, Mirror, Noise, OtherSeed
from benchmark.tasks.sanity import Heat, heat, required_heat

MIRROR = Mirror()
MEASURES: dict[str, agreement.Measure] = {
    "robustness_spearman": agreement.spearman,
    "robustness_ssim": agreement.ssim,
    "robustness_top10": agreement.top_overlap,
}
UNTOUCHED = 1e-9
"""Relative change, of the map's norm, up to which two maps are one."""


@dataclass(frozen=True, kw_only=True)
class Robustness(Protocol):
    """How much of an explanation changes with JPEG compression, a small crop, a mirror, pixel noise and the seed.

    Maps are compared where they lie; that of the mirrored image is mirrored back, and has a metric of its own because the
    encoder may tell left from right. Sensitivity is the largest relative change over ``draws`` of noise of each radius,
    leaving out draws that move the similarity by ``max_drift`` of itself or more; where that leaves none, the one that moves
    it least is taken (flag ``drift``, its share). A stochastic method draws anew for every probe, so that its own noise
    counts against it. A map that no probe changes at all does not read the image: flag ``ignores_input``.
    """

    radii: tuple[int, ...] = (2, 8)
    draws: int = 2
    max_drift: float = 0.05

    @property
    def changes(self) -> tuple[Probe, ...]:
        """What an explanation is compared under by rank, structure and overlap."""
        return (Jpeg(75), Crop(2))

    @property
    def probes(self) -> tuple[Probe, ...]:
        noise = (Noise(radius, draw) for radius in self.radii for draw in range(self.draws))
        return (*self.changes, MIRROR, *noise, OtherSeed())

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*MEASURES, "mirror_spearman", *(f"max_sensitivity_{radius}" for radius in self.radii), "seed_agreement")

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del explanation, evaluation
        return dict.fromkeys(self.metrics, "this task compares explanations of several images; it needs a run")

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        original = heat(explained.explanation)
        if original is None:
            return dict.fromkeys(self.metrics, "this explanation has no map over the image")
        chance = self.chance(evaluation)
        maps = {name: required_heat(probe.explanation) for name, probe in probes.items()}
        maps[MIRROR.name] = maps[MIRROR.name][:, ::-1]
        changed = {probe.name: maps[probe.name] for probe in self.changes}
        scores: dict[str, Score | str] = {
            name: agreement.agreement(original, changed, measure, chance=chance[name]) for name, measure in MEASURES.items()
        }
        for radius in self.radii:
            kept = self._kept(radius, explained, probes)
            score = agreement.max_sensitivity(original, [maps[name] for name in kept])
            scores[f"max_sensitivity_{radius}"] = replace(score, flags={**score.flags, "drift": max(kept.values())})
        for metric, name in (("mirror_spearman", MIRROR.name), ("seed_agreement", "seed")):
            scores[metric] = agreement.agreement(original, {name: maps[name]}, agreement.spearman, chance=0.0)
        deterministic = probes["seed"].explanation is explained.explanation
        ignores = _all_alike(original, [heat for name, heat in maps.items() if name != "seed"])
        flags = {"ignores_input": float(ignores), "deterministic": float(deterministic)}
        return {
            name: replace(score, flags={**score.flags, **flags}) if isinstance(score, Score) else score
            for name, score in scores.items()
        }

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        n = evaluation.encoder.n_patches
        sensitivity = {f"max_sensitivity_{radius}": agreement.unrelated_change(n, self.draws) for radius in self.radii}
        return dict.fromkeys(self.metrics, 0.0) | {"robustness_top10": agreement.n_top(n) / n} | sensitivity

    def _kept(self, radius: int, explained: Explained, probes: Mapping[str, Explained]) -> dict[str, float]:
        """Return the draws of noise that leave the similarity nearly where it was, or else the best, with their drift."""
        names = [Noise(radius, draw).name for draw in range(self.draws)]
        drift = {name: _drift(explained.similarity, probes[name].similarity) for name in names}
        small = {name: share for name, share in drift.items() if share < self.max_drift}
        least = min(drift, key=lambda name: drift[name])
        return small or {least: drift[least]}


def _drift(similarity: float | None, other: float | None) -> float:
    """Return a change of the similarity as a share of it; infinite where there is no telling."""
    if similarity is None or other is None:
        return np.inf
    return abs(other - similarity) / abs(similarity) if similarity else np.inf


def _all_alike(original: Heat, others: list[Heat]) -> bool:
    """Whether all maps are one up to round-off."""
    scale = float(np.abs(original).max())
    return all(float(np.abs(other - original).max()) <= UNTOUCHED * scale for other in others)


def declare(data: str, version: int = 1) -> Task:
    """Register ``<data>-robustness``."""
    return Task(
        id=f"{data}-robustness",
        version=version,
        data=data,
        view="captions",
        protocol=Robustness(),
        summary="How far a map moves with JPEG 75, a 2 % crop, a mirror, noise up to 2/255 and 8/255 (two draws each) and the "
        "seed; 7 more explanations a sample, 8 of stochastic methods.",
    )


TASKS = tuple(declare(data) for data in ("scenes", "phantoms", "coco"))
