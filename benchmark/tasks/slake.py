"""Tasks on ``slake``."""

from benchmark.tasks.families import declare

TASKS = declare("slake")
