"""Prompt tasks: points read off the map of a phrase, as an interactive segmenter would be given them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmark.data.base import Phrase
from benchmark.explanations import Explanation
from benchmark.metrics.base import Score
from benchmark.metrics.prompts import prompt_scores
from benchmark.tasks.base import Evaluation, Task
from benchmark.tasks.phrase_scores import NO_MAP, PhraseScores


@dataclass(frozen=True, kw_only=True)
class PointPrompts(PhraseScores):
    """Whether positive points fall on the object and negative points beside it.

    Positive: at most ``n_points`` local maxima that reach ``threshold`` of the map's range, ``min_distance`` patches apart;
    negative: as many of the lowest patches.
    """

    n_points: int = 8
    threshold: float = 0.8
    min_distance: float = 2.0

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("prompt_accuracy", "prompt_positive", "prompt_negative")

    def score_phrase(
        self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase, coverage: Float[np.ndarray, "row column"]
    ) -> dict[str, Score | str]:
        heat = self.heat(explanation, evaluation, phrase)
        if heat is None:
            return dict.fromkeys(self.metrics, NO_MAP)
        scores = prompt_scores(heat, coverage, n_points=self.n_points, threshold=self.threshold, min_distance=self.min_distance)
        return dict(scores)


TASKS = tuple(
    Task(
        id=f"{data}-prompts",
        version=1,
        data=data,
        view="phrases",
        protocol=PointPrompts(),
        summary="Positive and negative points read off the image map, against the object; the text is one phrase.",
    )
    for data in ("scenes", "phantoms", "coco")
)
