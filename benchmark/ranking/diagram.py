"""The critical-difference diagram of a track: mean ranks on one line, bars over methods that are not told apart."""

from matplotlib.figure import Figure

from benchmark.ranking.tracks import TrackTable

_LINE = 0.34  # inches for one method
_INK, _GREY = "#222222", "#8a8a8a"


def draw_track(table: TrackTable) -> Figure:
    """Draw one track, best at the top; a grey bar joins methods within the critical difference."""
    n = len(table.places)
    figure = Figure(figsize=(8, 1.3 + _LINE * max(n, 1)), dpi=120, layout="constrained")
    axis = figure.subplots()
    ranks = [place.mean_rank for place in table.places]
    for y, rank in enumerate(ranks):
        axis.plot([1, rank], [y, y], color="#e4e4e4", linewidth=1, zorder=1)
        axis.plot(rank, y, "o", color=_INK, markersize=6, zorder=3)
        axis.annotate(f"{rank:.2f}", (rank, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    right = max(ranks, default=1.0)
    for i, (first, last) in enumerate(table.groups):
        x = right + 0.06 * n + 0.035 * n * (i + 1)
        axis.plot([x, x], [first - 0.3, last + 0.3], color=_GREY, linewidth=3, solid_capstyle="butt")
    axis.set_yticks(range(n), [place.method for place in table.places])
    axis.set_ylim(n - 0.4, -0.6)
    axis.set_xlabel("mean rank, 1 is best; grey bars join what is not told apart", fontsize=9)
    difference = "" if table.critical_difference is None else f", critical difference {table.critical_difference:.2f} (5 %)"
    p = "" if table.p is None else f", Friedman p = {table.p:.2g}"
    blocks = f"{len(table.blocks)} block{'s' if len(table.blocks) != 1 else ''}"
    axis.set_title(f"{table.track}: {blocks}{p}{difference}", fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
    return figure
