"""Tasks on ``padchest``."""

from benchmark.tasks.families import declare

TASKS = declare("padchest", grounding="grounding")
