"""Tasks on ``rsna``; no grounding, since each of its texts has one finding and that is the pointing task's."""

from benchmark.tasks.base import Task
from benchmark.tasks.faithfulness import InteractionFaithfulness, Perturbation
from benchmark.tasks.protocols import Localisation

TASKS = (
    Task(
        id="rsna-pointing",
        version=1,
        data="rsna",
        view="phrases",
        protocol=Localisation(read="image"),
        summary="Pointing game, energy and average precision of the image map; the text is one phrase.",
    ),
    Task(
        id="rsna-insertion",
        version=1,
        data="rsna",
        view="captions",
        protocol=Perturbation(),
        summary="Insertion, deletion and the area between, for image, text and both, first order and greedy pairs.",
    ),
    Task(
        id="rsna-interactions",
        version=1,
        data="rsna",
        view="captions",
        protocol=InteractionFaithfulness(),
        summary="How well the explanation as a surrogate predicts held-out joint coalitions.",
    ),
)
