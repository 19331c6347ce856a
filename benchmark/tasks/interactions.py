"""``<data>-interactions`` over other coalitions: sparser, denser, and those of the Shapley kernel."""

from benchmark.tasks.base import Protocol, Task
from benchmark.tasks.faithfulness import InteractionFaithfulness, ShapleyFaithfulness

COALITIONS: dict[str, tuple[Protocol, str]] = {
    "p3": (InteractionFaithfulness(p=0.3), "players are kept with probability 0.3"),
    "p7": (InteractionFaithfulness(p=0.7), "players are kept with probability 0.7"),
    "shapley": (ShapleyFaithfulness(), "coalition sizes follow the Shapley kernel"),
}

TASKS = tuple(
    Task(
        id=f"{data}-interactions-{name}",
        version=1,
        data=data,
        view="captions",
        protocol=protocol,
        summary=f"How well the explanation as a surrogate predicts held-out joint coalitions; {how}.",
    )
    for data in ("scenes", "phantoms", "coco")
    for name, (protocol, how) in COALITIONS.items()
)
