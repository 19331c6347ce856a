"""Score against cost: who is beaten in both, and a picture that can be read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_ranking import row

from benchmark.errors import InvalidInput
from benchmark.ranking.pareto import pareto
from benchmark.ranking.pareto_diagram import draw_pareto


def board(scores, **fields):
    """Return rows from ``scores[method] = (mean, forwards, backwards)``."""
    return [
        row(name, i + 1, mean=mean, low=mean - 0.1, high=mean + 0.1, forwards=forwards, backwards=backwards, **fields)
        for i, (name, (mean, forwards, backwards)) in enumerate(scores.items())
    ]


SCORES = {
    "dear": (0.9, 100.0, 0.0),
    "worse": (0.6, 50.0, 0.0),
    "fair": (0.7, 4.0, 3.0),
    "twin": (0.7, 10.0, 0.0),
    "a": (0.2, 2.0, 0),
}


def test_a_method_is_dominated_by_what_scores_no_less_and_costs_no_more() -> None:
    (found,) = pareto(board(SCORES))
    assert [(point.method, point.cost, point.dominated_by) for point in found.points] == [
        ("a", 2, None),
        ("fair", 10, None),  # 4 forwards and 3 backwards of 2
        ("twin", 10, None),  # as good for as much
        ("worse", 50, "twin"),
        ("dear", 100, None),
    ]


def test_lower_is_better_turns_the_front_round() -> None:
    (found,) = pareto(board(SCORES, better="lower"))
    assert [point.method for point in found.points if point.on_front] == ["a"]


def test_seconds_may_be_the_cost() -> None:
    rows = [
        row("a", 1, forwards=1.0, backwards=0.0, seconds=0.5),
        row("b", 2, mean=0.4, forwards=1.0, backwards=0.0, seconds=0.1),
    ]
    (found,) = pareto(rows, "seconds")
    assert [(point.method, point.cost) for point in found.points] == [("b", 0.1), ("a", 0.5)]
    assert found.cost_unit == "seconds"


def test_only_counted_costs_of_ranked_methods_take_part() -> None:
    rows = board({"oracle": (1.0, 0.0, 0.0), "a": (0.5, 2.0, 0.0)})
    rows += [row("external:b", 3, forwards=0.0, backwards=0.0, badge="recomputed"), row("partial", None, n=4)]
    (found,) = pareto(rows)
    assert [point.method for point in found.points] == ["a"]
    assert found.left_out == ("external:b: recomputed, so its cost was not counted",)
    assert pareto(board(SCORES, track="cost")) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_the_front_is_what_the_definition_says(scores) -> None:
    points = pareto(board({f"m{i}": (float(mean), float(cost), 0.0) for i, (mean, cost) in enumerate(scores)}))[0].points
    for point in points:
        beaten = [
            other.method
            for other in points
            if other.mean >= point.mean and other.cost <= point.cost and (other.mean, other.cost) != (point.mean, point.cost)
        ]
        assert point.on_front == (not beaten)
        assert point.on_front or point.dominated_by in beaten


def labels(figure: Figure) -> list[Text]:
    return [text for axis in figure.axes for text in axis.texts]


def test_no_label_covers_another_or_a_point_or_leaves_the_panel() -> None:
    rng = np.random.default_rng(0)
    names = ["random", "uniform", "centre", "edge", *(f"method_{i}[parameter={i}]" for i in range(21))]
    costs = [0.0] * 4 + [2.0] * 6 + [float(cost) for cost in np.exp(rng.uniform(1, 8, 15))]
    scores = {name: (float(mean), cost, 0.0) for name, mean, cost in zip(names, rng.uniform(0.3, 0.6, 25), costs, strict=True)}
    boards = pareto(board(scores, unit="a_b$c"))
    figure = draw_pareto(boards)
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in labels(figure)]
    assert len(boxes) == 25
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.contains(*axis.transData.transform((point.cost, point.mean))) for point in boards[0].points)
        assert axis.get_window_extent().containsx(box.x0)
        assert axis.get_window_extent().containsx(box.x1)


def test_a_better_score_is_always_further_up_and_0_has_a_place() -> None:
    scores = {"random": (0.5, 0.0, 0.0), "a": (0.2, 3.0, 0.0)}
    for better in ("higher", "lower"):
        figure = draw_pareto(pareto(board(scores, better=better)))
        heights = [figure.axes[0].transData.transform((1, mean))[1] for mean in (0.5, 0.2)]
        assert (heights[0] > heights[1]) == (better == "higher")
        assert figure.axes[0].transData.transform((0, 0.5))[0] > figure.axes[0].get_window_extent().x0


def test_a_figure_of_too_many_boards_is_refused() -> None:
    boards = pareto([item for i in range(7) for item in board(SCORES, task=f"t{i}")])
    with pytest.raises(InvalidInput, match="1 to 6 boards, not 7"):
        draw_pareto(boards)
