"""Published numbers, and what a store measured beside them. A published number is a target and never shown as a result."""

from benchmark.reproduce.comparison import Cell, compare
from benchmark.reproduce.experiments import EXPERIMENTS, Experiment
from benchmark.reproduce.published import Target, targets

__all__ = ["EXPERIMENTS", "Cell", "Experiment", "Target", "compare", "targets"]
