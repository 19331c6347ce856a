"""Tasks on ``mscxr``."""

from benchmark.tasks.families import declare

TASKS = declare("mscxr", grounding="grounding")
