"""Tasks on ``coco``."""

from benchmark.tasks.families import declare

TASKS = declare("coco", grounding="grounding")
