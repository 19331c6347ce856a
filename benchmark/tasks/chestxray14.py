"""Tasks on ``chestxray14``."""

from benchmark.tasks.families import declare

TASKS = declare("chestxray14")
