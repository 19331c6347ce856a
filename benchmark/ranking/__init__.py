"""Scores to ranks with intervals. Nothing here imports torch."""

from benchmark.ranking.boards import Row, Selection, leaderboard
from benchmark.ranking.tables import Format, render

__all__ = ["Format", "Row", "Selection", "leaderboard", "render"]
