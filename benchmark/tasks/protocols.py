"""How explanations become scores: where the truth is (localisation), and the standard protocols with their metrics."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from benchmark.data.base import Phrase
from benchmark.errors import UnknownName
from benchmark.explanations import Explanation
from benchmark.metrics import localisation
from benchmark.metrics.base import METRICS, Score
from benchmark.tasks.base import TASKS, Evaluation, Protocol
from benchmark.tasks.faithfulness import InteractionFaithfulness, Perturbation

Heat = Float[np.ndarray, "row column"]
LOCALISATION: dict[str, Callable[[Heat, Heat], Score]] = {
    "average_precision": localisation.average_precision,  # the headline: no threshold, no luck of a single patch
    "pointing_energy": localisation.pointing_energy,
    "pointing_hit": localisation.pointing_hit,
}
ONE_PATCH = 1.0 - 1e-9  # patches, up to round-off


@dataclass(frozen=True, kw_only=True)
class Localisation(Protocol):
    """How far the map is where the phrase's object is, on the patch grid with soft coverage; a text's phrases are averaged.

    ``read="image"`` takes the image map: the text is the phrase itself. ``read="span"`` sums the patch-token scores over
    the phrase's tokens in a longer caption; a method without them is scored on its one image map for every phrase
    (flag ``token_blind``). Phrases less visible than ``min_visible`` (resize and crop), covering under one patch, or over
    ``max_area`` of the frame are left out; a sample without any other is excluded.
    """

    uses_truth: ClassVar[bool] = True

    read: Literal["image", "span"] = "image"
    min_visible: float = 0.5
    max_area: float = 0.75

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(LOCALISATION)

    def excluded(self, evaluation: Evaluation) -> str | None:
        phrases = evaluation.sample.phrases
        if not phrases:
            return "no phrase of this text has a region"
        if not self._usable(evaluation):
            return f"none of {len(phrases)} phrases has a region that this encoder sees well enough to score"
        return None

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if explanation.image is None and explanation.cross is None:
            return dict.fromkeys(self.metrics, "this explanation has no map over the image")
        if reason := self.excluded(evaluation):
            return dict.fromkeys(self.metrics, reason)
        phrases = self._usable(evaluation)
        heats = [self._heat(explanation, evaluation, phrase) for phrase, _ in phrases]
        blind = float(self.read == "span" and explanation.cross is None)
        return {
            name: _mean([metric(heat, cover) for heat, (_, cover) in zip(heats, phrases, strict=True)], token_blind=blind)
            for name, metric in LOCALISATION.items()
        }

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        covers = [cover for _, cover in self._usable(evaluation)]
        return {
            name: float(np.mean([metric(np.ones_like(c), c).value for c in covers])) for name, metric in LOCALISATION.items()
        }

    def _usable(self, evaluation: Evaluation) -> list[tuple[Phrase, Heat]]:
        key = (type(self).__name__, self.read, self.min_visible, self.max_area)
        if key not in evaluation.shared:
            evaluation.shared[key] = list(self._covered(evaluation))
        return evaluation.shared[key]

    def _covered(self, evaluation: Evaluation) -> Iterable[tuple[Phrase, Heat]]:
        pair = evaluation.pair
        for phrase in evaluation.sample.phrases:
            if self.read == "span" and not pair.tokens_of(phrase.span):
                continue
            cover = pair.coverage(phrase.region)
            visible = pair.geometry.visible_fraction(phrase.region) if pair.geometry is not None else 1.0
            if visible >= self.min_visible and cover.sum() >= ONE_PATCH and cover.mean() <= self.max_area:
                yield phrase, cover

    def _heat(self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase) -> Heat:
        if explanation.cross is not None and (self.read == "span" or explanation.image is None):
            tokens = evaluation.pair.tokens_of(phrase.span) if self.read == "span" else range(evaluation.pair.n_tokens)
            return explanation.cross[:, :, list(tokens)].sum(axis=2)
        assert explanation.image is not None  # score() refuses explanations with neither
        return explanation.image


def _mean(scores: Sequence[Score], **flags: float) -> Score:
    """Average the phrases of one sample; degenerate only if every one of them is."""
    return Score(
        value=float(np.mean([score.value for score in scores])),
        chance=float(np.mean([score.chance for score in scores if score.chance is not None])),
        degenerate=all(score.degenerate for score in scores),
        flags={**scores[0].flags, **flags, "phrases": float(len(scores))},
    )


PROTOCOLS: tuple[Protocol, ...] = (Localisation(), Perturbation(), InteractionFaithfulness())


def protocols_for(metrics: Iterable[str]) -> tuple[Protocol, ...]:
    """Return protocols that measure these metrics, the standard ones before those of registered tasks.

    An unknown metric is answered with the nearest name.
    """
    wanted = dict.fromkeys(metrics)
    for name in wanted:
        if name not in METRICS:
            raise UnknownName("metric", name, METRICS)
    found: list[Protocol] = []
    for protocol in (*PROTOCOLS, *(task.protocol for task in TASKS.values())):
        if any(name in wanted for name in protocol.metrics):
            found.append(protocol)
            for name in protocol.metrics:
                wanted.pop(name, None)
    return tuple(found)
