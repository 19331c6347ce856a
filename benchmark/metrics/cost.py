"""What an explanation took, as the harness counted it; a method never reports its own cost."""

import sys
from collections.abc import Mapping

from benchmark.errors import InvalidInput
from benchmark.metrics.base import Metric, Score

for _name, _unit, _summary in (
    ("cost_forwards", "inputs", "Images and texts run forward through their towers; half the blocks of a tower count half."),
    ("cost_backwards", "inputs", "Images and texts run backward through their towers."),
    ("cost_seconds", "seconds", "Wall-clock time of explaining one pair, one process, the encoder loaded and warm or not."),
):
    Metric(
        name=_name,
        unit=_unit,
        better="lower",
        low=0.0,
        high=sys.float_info.max,  # no bound, and JSON knows no infinity
        track="cost",
        summary=_summary,
        source="protocols.md 1.15",
        chance="none: a failed explanation has no cost",
        known_failures="says nothing about quality: the cheapest explanation is a fixed one"
        + ("; compare only what ran on one machine, and not the first run of a process" if _name == "cost_seconds" else ""),
    )


def cost_scores(cost: Mapping[str, float]) -> dict[str, Score]:
    """Turn ``image_forwards``, ``text_forwards``, ``backwards`` (in inputs) and ``seconds`` into scores; lower is better."""
    wanted = ("image_forwards", "text_forwards", "backwards", "seconds")
    if missing := [name for name in wanted if name not in cost]:
        raise InvalidInput(f"a cost needs {', '.join(wanted)}; {missing[0]} is missing")
    if negative := [name for name in wanted if not cost[name] >= 0]:
        raise InvalidInput(f"{negative[0]} is a cost and at least 0; got {cost[negative[0]]}")
    return {
        "cost_forwards": Score(
            value=cost["image_forwards"] + cost["text_forwards"],
            flags={"image_forwards": cost["image_forwards"], "text_forwards": cost["text_forwards"]},
        ),
        "cost_backwards": Score(value=cost["backwards"]),
        "cost_seconds": Score(value=cost["seconds"]),
    }
