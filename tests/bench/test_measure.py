"""Samples, ratios and goals: the arithmetic that every figure goes through."""

import math

import pytest

from pipeline.bench.benchmark import Benchmark, Measured
from pipeline.bench.board import number
from pipeline.bench.measure import Goal, Result, Sample, best_of, ratio, take_turns


def test_a_sample_has_its_least_its_median_and_its_greatest() -> None:
    assert Sample((3.0, 1.0, 2.0)).record() == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert Sample((4.0, 1.0, 2.0, 3.0)).median == 2.5


@pytest.mark.parametrize("values", [(), (1.0, math.nan), (math.inf,)])
def test_what_is_no_number_is_no_sample(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no sample"):
        Sample(values)


def test_measured_and_yardstick_take_turns() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    taken = take_turns(3, {"ours": lambda: measure("ours"), "theirs": lambda: measure("theirs")}, "ms")
    assert order == ["ours", "theirs"] * 3
    assert taken["ours"] == Sample((1.0, 3.0, 5.0), "ms")
    assert taken["theirs"].values == (2.0, 4.0, 6.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    """The machine was half as fast in the second round: the ratio does not show it, one of medians might."""
    assert ratio(Sample((10.0, 5.0)), Sample((20.0, 10.0))).values == (0.5, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        ratio(Sample((1.0, 2.0)), Sample((1.0,)))


def test_the_best_yardstick_is_that_of_each_round() -> None:
    assert best_of([Sample((1.0, 9.0), "/s"), Sample((5.0, 2.0), "/s")]) == Sample((5.0, 9.0), "/s")


def test_a_goal_is_met_at_its_bound() -> None:
    assert Goal(at_least=2.0).met_by(2.0)
    assert not Goal(at_least=2.0).met_by(1.999)
    assert Goal(at_most=0.0).met_by(0.0)
    assert not Goal(at_most=0.0).met_by(0.001)
    for bad in ({}, {"at_least": 1.0, "at_most": 2.0}):
        with pytest.raises(ValueError, match="a goal is either"):
            Goal(**bad)


def test_a_result_is_told_with_units_where_there_are_any() -> None:
    result = Result("name", {"a": Sample((1.0,), "ms"), "b": Sample((2.0,))}, {"r": Sample((0.5,))}, notes=("a note",))
    assert result.record() == {
        "name": "name",
        "figures": {"a": {"min": 1.0, "median": 1.0, "max": 1.0, "unit": "ms"},
                    "b": {"min": 2.0, "median": 2.0, "max": 2.0}},
        "ratios": {"r": {"min": 0.5, "median": 0.5, "max": 0.5}},
        "notes": ["a note"],
    }


def test_a_missed_goal_is_one_whose_median_does_not_meet_it() -> None:
    result = Result("name", {}, {"fast": Sample((1.0, 2.0, 9.0)), "small": Sample((1.0, 5.0, 6.0))})
    benchmark = Benchmark("name", "", "", {"fast": Goal(at_least=2.0), "small": Goal(at_most=4.0)}, lambda _: result)
    assert Measured(benchmark, result, {}).missed() == ["small"]


@pytest.mark.parametrize(
    ("value", "shown"), [(123456.7, "123,457"), (0.51234, "0.5123"), (12.0, "12"), (-2345.6, "-2,346"), (0.0, "0")]
)
def test_figures_are_shown_with_four_digits(value: float, shown: str) -> None:
    assert number(value) == shown
