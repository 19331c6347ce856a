"""Whether a label's map belongs to that label: against the maps of other labels, and of the same label among others."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.explanations import Explanation
from benchmark.metrics import agreement
from benchmark.metrics.base import Score
from benchmark.tasks.base import Evaluation, Explained, Probe, Protocol, Task
from benchmark.tasks.probes import OtherSeed
from benchmark.tasks.sanity import Heat, heat, required_heat


@dataclass(frozen=True)
class OneLabel(Probe):
    """One of a text's labels, words with spaces between, as a text of its own; the last where there are not so many."""

    position: int

    changes = "text"

    @property
    def name(self) -> str:
        return f"label-{self.position}"

    def text(self, text: str) -> str:
        words = text.split()
        return words[min(self.position, len(words) - 1)]


@dataclass(frozen=True, kw_only=True)
class LabelSets(Protocol):
    """What happens to a label's map when the label stands alone, and when it is another label.

    The text is a set of labels. The first two are explained alone as well: their maps should differ
    (``label_contrast``, ``label_spearman``), and each should resemble its label's part of the whole set's explanation
    (``label_set_spearman``): patch-token scores summed over the label's tokens. A method with one map for all labels has
    none to tell apart (flag ``token_blind``): its one map stands for both.
    """

    @property
    def probes(self) -> tuple[Probe, ...]:
        return (OneLabel(0), OneLabel(1), OtherSeed())

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("label_contrast", "label_spearman", "label_set_spearman")

    def excluded(self, evaluation: Evaluation) -> str | None:
        if len(evaluation.sample.phrases) < 2:
            return "one label is no set"
        if any(not evaluation.pair.tokens_of(phrase.span) for phrase in evaluation.sample.phrases[:2]):
            return "the text is cut off before its second label"
        return None

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del explanation, evaluation
        return dict.fromkeys(self.metrics, "this task compares explanations of several texts; it needs a run")

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        if heat(explained.explanation) is None:
            return dict.fromkeys(self.metrics, "this explanation has no map over the image")
        blind = float(explained.explanation.cross is None)
        alone = [required_heat(probes[OneLabel(position).name].explanation) for position in (0, 1)]
        parts = [self._part(explained, evaluation, position) for position in (0, 1)]
        again = [self._part(probes["seed"], evaluation, position) for position in (0, 1)]
        together = [
            agreement.agreement(part, {"alone": own}, agreement.spearman, chance=0.0)
            for part, own in zip(parts, alone, strict=True)
        ]
        same = sum(agreement.absolute_spearman(*pair) for pair in zip(parts, again, strict=True)) / 2
        return {
            "label_contrast": agreement.difference(same, alone[0], alone[1]),
            "label_spearman": agreement.agreement(alone[0], {"other": alone[1]}, agreement.spearman, chance=0.0),
            "label_set_spearman": Score(
                value=sum(score.value for score in together) / len(together),
                chance=0.0,
                degenerate=all(score.degenerate for score in together),
                flags={"token_blind": blind},
            ),
        }

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        del evaluation
        return dict.fromkeys(self.metrics, 0.0)

    def _part(self, explained: Explained, evaluation: Evaluation, position: int) -> Heat:
        """Return what of an explanation of the whole set is about one label."""
        cross = explained.explanation.cross
        if cross is None:
            return required_heat(explained.explanation)
        tokens = evaluation.pair.tokens_of(evaluation.sample.phrases[position].span)
        return cross[:, :, list(tokens)].sum(axis=2)


def declare(data: str) -> Task:
    """Register ``<data>-labelsets`` for a set whose captions are labels with spaces between."""
    return Task(
        id=f"{data}-labelsets",
        version=1,
        data=data,
        view="captions",
        protocol=LabelSets(),
        summary="Is a label's map its own: against another label's, and alone against among others; 2 more explanations a "
        "sample, 3 of stochastic methods.",
    )


TASKS = tuple(declare(data) for data in ("mosaics", "imagenet_mosaics"))
