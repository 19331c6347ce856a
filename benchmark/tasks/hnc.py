"""Tasks on ``hnc``."""

from benchmark.tasks.families import declare

TASKS = declare("hnc", grounding="grounding")
