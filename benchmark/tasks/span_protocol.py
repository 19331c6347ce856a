"""Span tasks: a caption's phrases and image regions, from words to region and from region to words."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from benchmark.data.base import Phrase
from benchmark.explanations import Explanation
from benchmark.metrics import localisation
from benchmark.metrics.base import Score
from benchmark.metrics.spans import SPANS, tokens_of_region
from benchmark.tasks.base import Evaluation, Task
from benchmark.tasks.phrase_scores import NO_MAP, PhraseScores

TO_REGION = {"pga_argmax": localisation.pga_argmax, "pga_majority": localisation.pga_majority}


@dataclass(frozen=True, kw_only=True)
class Spans(PhraseScores):
    """The point game between spans and regions, in both directions, for every phrase of a caption.

    To the region: accuracies of the map that a span's tokens add up to. To the span: the token scores that a region's
    patches add up to; a method without patch-token scores is scored on its one text map for every region (flag
    ``region_blind``). A phrase of more than ``max_share`` of the content tokens is left out.
    """

    read: Literal["image", "span"] = "span"
    max_share: float = 0.75

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*SPANS, *TO_REGION)

    def score_phrase(
        self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase, coverage: Float[np.ndarray, "row column"]
    ) -> dict[str, Score | str]:
        scores: dict[str, Score | str] = dict.fromkeys(SPANS, "this explanation has no scores for the text")
        tokens = explanation.text if explanation.cross is None else tokens_of_region(explanation.cross, coverage)
        if tokens is not None:
            inside = np.zeros(evaluation.pair.n_tokens)
            inside[list(evaluation.pair.tokens_of(phrase.span))] = 1.0
            blind = float(explanation.cross is None)
            scores |= {name: flagged(metric(tokens, inside), region_blind=blind) for name, metric in SPANS.items()}
        heat = self.heat(explanation, evaluation, phrase)
        if heat is None:
            return scores | dict.fromkeys(TO_REGION, NO_MAP)
        blind = float(explanation.cross is None)
        return scores | {name: flagged(metric(heat, coverage), token_blind=blind) for name, metric in TO_REGION.items()}

    def _usable(self, evaluation: Evaluation) -> list[tuple[Phrase, Float[np.ndarray, "row column"]]]:
        most = self.max_share * evaluation.pair.n_tokens
        return [usable for usable in super()._usable(evaluation) if len(evaluation.pair.tokens_of(usable[0].span)) <= most]


def flagged(score: Score, **flags: float) -> Score:
    """Return the score with more flags."""
    return Score(value=score.value, chance=score.chance, degenerate=score.degenerate, flags={**score.flags, **flags})


TASKS = tuple(
    Task(
        id=f"{data}-spans",
        version=1,
        data=data,
        view=view,
        protocol=Spans(),
        summary="From a region to its words, and the published accuracies from words to region, from patch-token scores.",
    )
    for data, view in (("scenes", "captions"), ("phantoms", "captions"), ("coco", "grounding"))
)
