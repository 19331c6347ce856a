"""Tasks on ``imagenet_mosaics``, and on the labels first published as they were scored then."""

from benchmark.tasks.grid_protocol import declare

TASKS = (*declare("imagenet_mosaics"), *declare("imagenet_mosaics_original", token_scores=True))
