"""What pairs add to the joint curves: the best subset of every size, and the same search held to nested subsets."""

from benchmark.tasks.base import Task
from benchmark.tasks.faithfulness import Perturbation

TASKS = tuple(
    Task(
        id=f"{data}-insertion-greedy",
        version=1,
        data=data,
        view="captions",
        protocol=Perturbation(variants=("joint_greedy", "joint_nested")),
        summary="Insertion and deletion by greedy search over main effects and pairs: free subsets, and one nested chain.",
    )
    for data in ("scenes", "phantoms", "coco")
)
