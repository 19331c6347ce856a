"""Tasks on ``conceptual_captions``, which has no regions."""

from benchmark.tasks.base import Task
from benchmark.tasks.protocols import InteractionFaithfulness, Perturbation

TASKS = (
    Task(
        id="conceptual_captions-insertion",
        version=1,
        data="conceptual_captions",
        view="captions",
        protocol=Perturbation(),
        summary="Insertion, deletion and the area between, for image, text and both, first order and greedy pairs.",
    ),
    Task(
        id="conceptual_captions-interactions",
        version=1,
        data="conceptual_captions",
        view="captions",
        protocol=InteractionFaithfulness(),
        summary="How well the explanation as a surrogate predicts held-out joint coalitions.",
    ),
)
