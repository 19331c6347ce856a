"""Tasks on ``chexlocalize``."""

from benchmark.tasks.families import declare

TASKS = declare("chexlocalize")
