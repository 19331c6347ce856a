"""Pure functions of arrays, one file per property measured; importing this package fills ``METRICS``."""

from importlib import import_module
from pkgutil import iter_modules

from benchmark.metrics.base import METRICS, Metric, Score

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["METRICS", "Metric", "Score"]
