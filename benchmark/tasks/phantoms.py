"""Tasks on ``phantoms``."""

from benchmark.tasks.families import declare

TASKS = declare("phantoms")
