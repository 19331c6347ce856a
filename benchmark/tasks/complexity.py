"""How concentrated explanations are and what they took: columns beside the ranked tracks, and a track of their own."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.explanations import Explanation
from benchmark.metrics.base import Score
from benchmark.metrics.complexity import complexity, random_complexity
from benchmark.metrics.cost import cost_scores
from benchmark.tasks.base import Evaluation, Explained, Protocol, Task
from benchmark.tasks.sanity import heat


@dataclass(frozen=True, kw_only=True)
class Complexity(Protocol):
    """Entropy, inequality and size of the image map; neither high nor low is better, so nothing is ranked."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(random_complexity(1))

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del evaluation
        found = heat(explanation)
        if found is None:
            return dict.fromkeys(self.metrics, "this explanation has no map over the image")
        return dict(complexity(found))

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        return random_complexity(evaluation.encoder.n_patches)


@dataclass(frozen=True, kw_only=True)
class Expense(Protocol):
    """What the harness counted while the pair was explained; a failure has no value, and so no chance value either."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("cost_forwards", "cost_backwards", "cost_seconds")

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del explanation, evaluation
        return dict.fromkeys(self.metrics, "an explanation alone does not say what it took; this task needs a run")

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        del probes, evaluation
        return dict(cost_scores(explained.cost))

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        del evaluation
        return {}


def declare(data: str, version: int = 1) -> tuple[Task, Task]:
    """Register ``<data>-complexity`` and ``<data>-cost``."""
    return (
        Task(
            id=f"{data}-complexity",
            version=version,
            data=data,
            view="captions",
            protocol=Complexity(),
            summary="Entropy, Gini coefficient and effective size of the image map: descriptions, not ranked.",
        ),
        Task(
            id=f"{data}-cost",
            version=version,
            data=data,
            view="captions",
            protocol=Expense(),
            summary="Forward passes, backward passes and seconds of one explanation.",
        ),
    )


TASKS = tuple(task for data in ("scenes", "phantoms", "coco") for task in declare(data))
