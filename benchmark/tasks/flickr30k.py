"""Tasks on ``flickr30k``."""

from benchmark.tasks.families import declare

TASKS = declare("flickr30k", grounding="grounding")
