"""The image curves of ``<data>-insertion`` with other ways of removing a patch, to see whether a ranking depends on it."""

from benchmark.tasks.base import Task
from benchmark.tasks.faithfulness import Perturbation

OPERATORS = {
    "blur": ("blur", "removed patches are blurred"),
    "impute": ("impute", "removed patches are filled in from the kept ones"),
    "drop": ("drop_tokens", "removed patches leave the sequence"),
}

TASKS = tuple(
    Task(
        id=f"{data}-insertion-{name}",
        version=1,
        data=data,
        view="captions",
        protocol=Perturbation(variants=("image",), removal=removal),
        summary=f"The protocol of {data}-insertion, image only, with another operator: {how}.",
    )
    for data in ("scenes", "phantoms", "coco")
    for name, (removal, how) in OPERATORS.items()
)
