"""Explainers, one file per method: every module of this package is imported, and its class statements register it."""

from importlib import import_module
from pkgutil import iter_modules

from benchmark.explainers.base import EXPLAINERS, Explainer, TruthReader

__all__ = ["EXPLAINERS", "Explainer", "TruthReader"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
