"""The clock and what is made of its readings."""

import pytest
import torch

from benchmark.speed.growth import slope
from benchmark.speed.timing import Clock, Spread, in_turn, ratio

CPU = torch.device("cpu")


def test_one_thread_on_a_cpu_is_timed_by_its_processor_time_and_all_else_by_the_wall():
    assert Clock(CPU, 1).kind == "processor time"
    assert Clock(CPU, 2).kind == "wall-clock time"
    assert Clock(torch.device("cuda"), 1).kind == "wall-clock time"


def test_contenders_take_turns_and_the_first_round_does_not_count():
    order: list[str] = []
    seconds = in_turn(Clock(CPU, 1), {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    assert {name: len(took) for name, took in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_round_by_round():
    assert ratio([2.0, 30.0, 6.0], [1.0, 10.0, 1.0]) == Spread(median=3.0, low=2.0, high=6.0)


def test_the_slope_of_a_power_law_is_its_exponent():
    assert slope([1, 3, 9], [2, 2 * 3**1.5, 2 * 9**1.5]) == pytest.approx(1.5)
