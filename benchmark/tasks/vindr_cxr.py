"""Tasks on ``vindr``."""

from benchmark.tasks.families import declare

TASKS = declare("vindr")
