"""Tasks on ``scenes``."""

from benchmark.tasks.families import declare

TASKS = declare("scenes")
