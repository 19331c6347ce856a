"""Scores to ranks with intervals. Nothing here imports torch."""

from benchmark.ranking.boards import Row, Selection, leaderboard
from benchmark.ranking.compare import Comparison, compare
from benchmark.ranking.tables import Format, render

__all__ = ["Comparison", "Format", "Row", "Selection", "compare", "leaderboard", "render"]
