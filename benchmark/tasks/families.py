"""The four families of tasks that every data set with captions and phrases gets."""

from benchmark.tasks.base import Task
from benchmark.tasks.protocols import InteractionFaithfulness, Localisation, Perturbation

FAMILIES = ("pointing", "grounding", "insertion", "interactions")


def declare(data: str, version: int = 1, grounding: str = "captions") -> tuple[Task, ...]:
    """Register ``<data>-pointing``, ``-grounding`` (on its own view), ``-insertion`` and ``-interactions``."""
    return (
        Task(
            id=f"{data}-pointing",
            version=version,
            data=data,
            view="phrases",
            protocol=Localisation(read="image"),
            summary="Pointing game, energy and average precision of the image map; the text is one phrase.",
        ),
        Task(
            id=f"{data}-grounding",
            version=version,
            data=data,
            view=grounding,
            protocol=Localisation(read="span"),
            summary="The same for every phrase of a caption, from the patch-token scores of its tokens.",
        ),
        Task(
            id=f"{data}-insertion",
            version=version,
            data=data,
            view="captions",
            protocol=Perturbation(),
            summary="Insertion, deletion and the area between, for image, text and both, first order and greedy pairs.",
        ),
        Task(
            id=f"{data}-interactions",
            version=version,
            data=data,
            view="captions",
            protocol=InteractionFaithfulness(),
            summary="How well the explanation as a surrogate predicts held-out joint coalitions.",
        ),
    )
