"""Scores to ranks with intervals. Nothing here imports torch."""

from benchmark.ranking.boards import Row, Selection, leaderboard, win_tables
from benchmark.ranking.compare import Comparison, compare
from benchmark.ranking.tables import Format, render
from benchmark.ranking.wins import WinTable

__all__ = ["Comparison", "Format", "Row", "Selection", "WinTable", "compare", "leaderboard", "render", "win_tables"]
