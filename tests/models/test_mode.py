"""Market Mode: its arithmetic by hand, and the label as a fold over event time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.constants import Constants
from pipeline.models.levels import Flip
from pipeline.models.mode import LabelState, label_of, market_mode, next_label, weighed_ratio

AXIS = np.arange(-30, 31) * 0.002


def flip(nearest, sign, reason=None):
    return Flip(nearest, reason, () if nearest is None else (nearest,), nearest, sign)


def test_the_score_by_hand():
    mode = market_mode(flip(5050.0, -1), -0.05, 5000.0, 50.0)
    assert mode.distance == -1.0
    assert mode.score == pytest.approx(50 * (1 - (math.tanh(-1.0) + math.tanh(-0.5)) / 2))
    assert mode.label == "expansion"


def test_without_a_root_the_sign_of_gamma_decides():
    short = market_mode(flip(None, -1, "no_root"), -1.0, 5000.0, 50.0)
    long = market_mode(flip(None, 1, "no_root"), 1.0, 5000.0, 50.0)
    assert (short.distance, long.distance) == (-3.0, 3.0)
    assert short.score > 99.7
    assert long.score < 0.3


def test_where_gamma_falls_through_its_root_the_score_follows_gamma_not_the_side():
    """Spot above a root with gamma falling through it: dealers are short gamma there."""
    above = market_mode(flip(4950.0, -1), -0.05, 5000.0, 50.0)
    assert above.distance == -1.0
    assert above.label == "expansion"


@pytest.mark.parametrize(("reason", "ratio", "move"), [("low_coverage", 0.1, 5.0), ("flat", 0.1, 5.0),
                                                       (None, None, 5.0), (None, 0.1, None)])
def test_it_is_missing_with_a_reason(reason, ratio, move):
    mode = market_mode(flip(100.0, 1, reason), ratio, 100.0, move)
    assert mode.score is None
    assert mode.label is None
    assert mode.reason


def test_an_unstable_root_still_places_spot():
    assert market_mode(flip(5050.0, -1, "unstable"), 0.0, 5000.0, 50.0).distance == -1.0


def test_the_ratio_is_a_gaussian_mean_of_net_over_that_of_gross():
    gross = np.full(61, 10_000_000)
    assert weighed_ratio(AXIS, gross // 4, gross, 0.007) == pytest.approx(0.25)
    assert weighed_ratio(AXIS, -gross, gross, 0.007) == pytest.approx(-1.0)
    assert weighed_ratio(AXIS, gross * 0, gross * 0, 0.007) is None
    odd = (AXIS * 1e9).astype(np.int64)
    assert weighed_ratio(AXIS, odd, gross, 0.007) == pytest.approx(0.0, abs=1e-9)
    # A net of x^2 gives EM^2 times the second moment of a normal cut off at two deviations: 1 - 4 n(2) / (2 N(2) - 1).
    square = np.rint(1e13 * AXIS**2).astype(np.int64)
    moment = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
    assert weighed_ratio(AXIS, square, gross, 0.02) == pytest.approx(1e6 * 0.02**2 * moment, rel=0.005)


def test_the_bounds_of_the_labels():
    assert [label_of(score) for score in (0, 33.4, 33.5, 66.4, 66.5, 100)] == [
        "compression", "compression", "transition", "transition", "expansion", "expansion",
    ]  # fmt: skip


def fold(steps, start=None):
    state = start
    for seconds, score in steps:
        state = next_label(state, score, 1_000_000 + seconds * 1000)
    return state


def test_the_first_score_gives_its_label_at_once():
    assert fold([(0, 80.0)]) == LabelState("expansion")
    assert fold([(0, None)]) is None


def test_four_points_beyond_a_bound_change_nothing_and_more_only_after_a_minute():
    assert fold([(0, 50.0), (10, 70.4), (500, 70.4)]).label == "transition"
    assert fold([(0, 50.0), (10, 70.5), (69, 71.0)]).label == "transition"
    assert fold([(0, 50.0), (10, 70.5), (70, 71.0)]).label == "expansion"
    assert fold([(0, 50.0), (10, 29.4), (70, 29.4)]).label == "compression"


def test_a_break_begins_the_minute_anew():
    assert fold([(0, 50.0), (10, 80.0), (60, 60.0), (65, 80.0), (120, 80.0)]).label == "transition"
    assert fold([(0, 50.0), (10, 80.0), (60, 60.0), (65, 80.0), (125, 80.0)]).label == "expansion"


def test_events_out_of_order_and_missing_scores_do_no_harm():
    assert fold([(0, 50.0), (100, 80.0), (40, 80.0), (159, 80.0)]).label == "transition"
    assert fold([(0, 50.0), (100, 80.0), (110, None), (160, 80.0)]).label == "expansion"


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 100)), min_size=1, max_size=40))
def test_a_label_never_changes_within_its_dwell_nor_without_the_score_leaving_its_range(steps):
    constants, state, now, changed_at = Constants(), None, 0, None
    for wait, score in steps:
        now += wait * 1000
        before, state = state, next_label(state, score, now)
        if before is not None and state.label != before.label:
            assert label_of(score) == state.label
            if changed_at is not None:
                assert now - changed_at >= constants.dwell_ms
            changed_at = now
