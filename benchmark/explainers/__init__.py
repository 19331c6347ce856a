"""Explainers, one file per method: every module of this package is imported, and its class statements register it."""

from benchmark.explainers.base import EXPLAINERS, Explainer, TruthReader
from benchmark.plugins import import_modules

__all__ = ["EXPLAINERS", "Explainer", "TruthReader"]

import_modules(__name__, __path__, EXPLAINERS)
