"""Tasks on ``folder``: images and texts of one's own."""

from benchmark.tasks.families import declare

TASKS = declare("folder", grounding="grounding")
