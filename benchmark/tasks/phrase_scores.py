"""What protocols share that score every usable phrase of a text and average the scores."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmark.data.base import Phrase
from benchmark.explanations import Explanation
from benchmark.metrics.base import Score
from benchmark.tasks.base import Evaluation
from benchmark.tasks.protocols import Localisation

NO_MAP = "this explanation has no map over the image"


@dataclass(frozen=True, kw_only=True)
class PhraseScores(Localisation):
    """Phrases are chosen and maps read as in ``Localisation``; a failed explanation counts as a constant one."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]: ...

    @abstractmethod
    def score_phrase(
        self,
        explanation: Explanation,
        evaluation: Evaluation,
        phrase: Phrase,
        coverage: Float[np.ndarray, "row column"],
    ) -> dict[str, Score | str]:
        """Score one phrase, whose region covers these shares of the patches."""

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if reason := self.excluded(evaluation):
            return dict.fromkeys(self.metrics, reason)
        found = [self.score_phrase(explanation, evaluation, *usable) for usable in self._usable(evaluation)]
        return {name: averaged([scores[name] for scores in found]) for name in self.metrics}

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        scores = self.score(constant(evaluation), evaluation)
        return {name: score.value for name, score in scores.items() if isinstance(score, Score)}

    def heat(self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase) -> Float[np.ndarray, "row column"] | None:
        """Return the phrase's map on the patch grid, ``None`` where the explanation has no map over the image."""
        if explanation.image is None and explanation.cross is None:
            return None
        return self._heat(explanation, evaluation, phrase)


def constant(evaluation: Evaluation) -> Explanation:
    """Return the explanation that says nothing: every score 1. Every metric gives it its chance value."""
    grid, n_tokens = evaluation.encoder.patch_grid, evaluation.pair.n_tokens
    return Explanation(image=np.ones(grid), text=np.ones(n_tokens), cross=np.ones((*grid, n_tokens)))


def averaged(scores: Sequence[Score | str]) -> Score | str:
    """Average values, chances and flags of one sample's phrases; degenerate only if all are. A reason stands for all."""
    read: list[Score] = []
    for score in scores:
        if isinstance(score, str):
            return score
        read.append(score)
    chances = [score.chance for score in read if score.chance is not None]
    names = dict.fromkeys(name for score in read for name in score.flags)
    flags = {name: float(np.mean([score.flags[name] for score in read if name in score.flags])) for name in names}
    return Score(
        value=float(np.mean([score.value for score in read])),
        chance=float(np.mean(chances)) if chances else None,
        degenerate=all(score.degenerate for score in read),
        flags={**flags, "phrases": float(len(read))},
    )
