"""Pure functions of arrays, one file per property measured; importing this package fills ``METRICS``."""

from benchmark.metrics import interaction, localisation, perturbation
from benchmark.metrics.base import METRICS, Metric, Score

__all__ = ["METRICS", "Metric", "Score", "interaction", "localisation", "perturbation"]
