"""Pure functions of arrays, one file per property measured; importing this package fills ``METRICS``."""

from benchmark.metrics.base import METRICS, Metric, Score
from benchmark.plugins import import_modules

import_modules(__name__, __path__, METRICS)

__all__ = ["METRICS", "Metric", "Score"]
