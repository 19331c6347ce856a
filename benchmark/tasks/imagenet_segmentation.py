"""Tasks on ``imagenet_segmentation``."""

from benchmark.tasks.families import declare

TASKS = declare("imagenet_segmentation")
