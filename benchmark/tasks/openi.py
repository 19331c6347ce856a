"""Tasks on ``openi``, which has captions and no regions."""

from benchmark.tasks.base import Task
from benchmark.tasks.faithfulness import InteractionFaithfulness, Perturbation

TASKS = (
    Task(
        id="openi-insertion",
        version=1,
        data="openi",
        view="captions",
        protocol=Perturbation(),
        summary="Insertion, deletion and the area between, for image, text and both, first order and greedy pairs.",
    ),
    Task(
        id="openi-interactions",
        version=1,
        data="openi",
        view="captions",
        protocol=InteractionFaithfulness(),
        summary="How well the explanation as a surrogate predicts held-out joint coalitions.",
    ),
)
