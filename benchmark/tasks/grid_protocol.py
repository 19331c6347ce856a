"""Mosaic tasks: the grid pointing game on images of several cells, and which labels an explanation finds in them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmark.data.base import Phrase
from benchmark.explanations import Explanation
from benchmark.metrics import grid_pointing
from benchmark.metrics.base import Score
from benchmark.metrics.recognition import recognition_ap
from benchmark.tasks.base import Evaluation, Protocol, Task
from benchmark.tasks.phrase_scores import NO_MAP, constant


@dataclass(frozen=True, kw_only=True)
class GridPointing(Protocol):
    """The grid pointing game: every phrase of the text is a label, its region one cell of an n x n mosaic.

    A label's map is the sum of the patch-token scores of its span; a method without them is scored on its one image map for
    all labels. ``labels="joint"`` scores a text of several labels, ``"conditional"`` a text that is one label, for which maps
    are the label's own and no cap applies. With ``token_scores`` a method without patch-token scores has its token scores
    counted on both sides, as FIxLIP does; without, as METAGAME does, they do not matter.
    """

    uses_truth: ClassVar[bool] = True

    labels: Literal["joint", "conditional"] = "joint"
    n: int = 2
    token_scores: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        if self.labels == "conditional":
            return ("pgr_conditional", "grid_localisation", "pgr_sign")
        return ("pgr_joint", "pgr_sign")

    def excluded(self, evaluation: Evaluation) -> str | None:
        phrases = evaluation.sample.phrases
        if not phrases:
            return "no label of this text has a cell"
        if self.labels == "conditional" and len(phrases) > 1:
            return f"a conditional map needs a text of one label; this one has {len(phrases)}"
        if not all(evaluation.pair.tokens_of(phrase.span) for phrase in phrases):
            return "a label of this text became no token of its own"
        if min(evaluation.encoder.patch_grid) < self.n:
            return f"this encoder's grid of patches is too coarse for {self.n} x {self.n} cells"
        own = self._own(evaluation)
        return None if own is not None and len(set(own.tolist())) == len(own) else "a label's region is no cell of its own"

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if reason := self.excluded(evaluation):
            return dict.fromkeys(self.metrics, reason)
        own = self._own(evaluation)
        assert own is not None  # excluded() says so
        spans = [list(evaluation.pair.tokens_of(phrase.span)) for phrase in evaluation.sample.phrases]
        tokens = None
        if explanation.cross is not None:
            maps = np.stack([explanation.cross[:, :, span].sum(axis=2) for span in spans])
        elif explanation.image is not None:
            maps = np.stack([explanation.image] * len(spans))
            if self.token_scores and explanation.text is not None:
                tokens = np.array([explanation.text[span].sum() for span in spans])
        else:
            return dict.fromkeys(self.metrics, NO_MAP)
        cells = self._cells(evaluation)
        scores: dict[str, Score | str] = {
            f"pgr_{self.labels}": grid_pointing.mass_ratio_correct(maps, own, cells, token_scores=tokens),
            "pgr_sign": grid_pointing.sign_ratio_correct(maps, own, cells),
            "grid_localisation": grid_pointing.grid_localisation(maps, own, cells),
        }
        return {name: scores[name] for name in self.metrics}

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        """Return the chance of a map without negative scores, the lower one: no method gains by failing."""
        scores = self.score(constant(evaluation), evaluation)
        return {name: score.value for name, score in scores.items() if isinstance(score, Score)}

    def _cells(self, evaluation: Evaluation) -> Bool[np.ndarray, "cell row column"]:
        return grid_pointing.grid_cells(evaluation.encoder.patch_grid, self.n)

    def _own(self, evaluation: Evaluation) -> Int[np.ndarray, " label"] | None:
        """Return each label's cell, the one that its region covers; ``None`` if a region covers no cell by half."""
        cells = self._cells(evaluation)
        regions = np.stack([evaluation.pair.coverage(phrase.region) for phrase in evaluation.sample.phrases])
        covered = np.einsum("lrc,krc->lk", regions, cells) / cells.sum(axis=(1, 2))
        return covered.argmax(axis=1) if (covered.max(axis=1) >= 0.5).all() else None


@dataclass(frozen=True, kw_only=True)
class Recognition(Protocol):
    """Which labels of a list are true of the image: every phrase is a label, true if its region is not empty.

    A label's score is the maximum (or, with ``pool="mean"``, the mean) over patches of the patch-token scores of its span; for
    a method without them, the sum of its span's text scores.
    """

    uses_truth: ClassVar[bool] = True

    pool: Literal["max", "mean"] = "max"

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("recognition_ap",)

    def excluded(self, evaluation: Evaluation) -> str | None:
        truth = self._truth(evaluation)
        if not all(evaluation.pair.tokens_of(phrase.span) for phrase in evaluation.sample.phrases):
            return "a label of this text became no token of its own"
        return None if truth.any() and not truth.all() else "all labels of this text are true of the image, or none"

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if reason := self.excluded(evaluation):
            return dict.fromkeys(self.metrics, reason)
        scores = [self._label_score(explanation, evaluation, phrase) for phrase in evaluation.sample.phrases]
        found = [score for score in scores if score is not None]
        if not found:
            return dict.fromkeys(self.metrics, "this explanation has no scores for the text")
        return {"recognition_ap": recognition_ap(np.array(found), self._truth(evaluation))}

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        truth = self._truth(evaluation)
        return {"recognition_ap": recognition_ap(np.ones(len(truth)), truth).value}

    def _label_score(self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase) -> float | None:
        span = list(evaluation.pair.tokens_of(phrase.span))
        if explanation.cross is None:
            return None if explanation.text is None else float(explanation.text[span].sum())
        heat: Float[np.ndarray, "row column"] = explanation.cross[:, :, span].sum(axis=2)
        return float(heat.max() if self.pool == "max" else heat.mean())

    def _truth(self, evaluation: Evaluation) -> Bool[np.ndarray, " label"]:
        return np.array([len(phrase.region.boxes) > 0 for phrase in evaluation.sample.phrases], dtype=bool)


def declare(data: str, *, token_scores: bool = False) -> tuple[Task, ...]:
    """Register ``<data>-grid`` (all labels in one text) and ``<data>-labels`` (a text for each) for a set of mosaics."""
    return (
        Task(
            id=f"{data}-grid",
            version=1,
            data=data,
            view="captions",
            protocol=GridPointing(token_scores=token_scores),
            summary="Grid pointing game: 1 to 4 labels in one text, each label's patch-token scores against its cell.",
        ),
        Task(
            id=f"{data}-labels",
            version=1,
            data=data,
            view="labels",
            protocol=GridPointing(labels="conditional", token_scores=token_scores),
            summary="Grid pointing game with a text of its own for every label, so that maps blind to tokens are not capped.",
        ),
    )


TASKS = (
    *declare("mosaics"),
    Task(
        id="mosaics-recognition",
        version=1,
        data="mosaics",
        view="candidates",
        protocol=Recognition(),
        summary="Which of twelve labels are in the image, ranked by what the explanation gives to their words.",
    ),
)
