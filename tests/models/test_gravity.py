"""Dealer Gravity: the density against the model it came from, the tilt by hand, extrema, and minutes that stay."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.exposure import moves
from pipeline.models.gravity import Gravity, dealer_gravity, implied_density, next_minute, peaks

from .smiling_chains import smiling_pane

AXIS = moves()
GROSS = np.full(61, 1_000_000_000)


def test_the_density_of_a_flat_smile_is_lognormal():
    pane = smiling_pane(skew=0.0, reach=0.06).exposure()
    x, p = implied_density(pane, 5000.0)
    assert p.sum() == pytest.approx(1.0)
    assert (p * x).sum() == pytest.approx(pane.forward, rel=1e-6)
    deviation = np.log(x / pane.forward)
    variance = (p * deviation**2).sum() - (p * deviation).sum() ** 2
    # Steps of an eighth of a deviation spread each butterfly by their sixth: 1/64/6.
    assert math.sqrt(variance) == pytest.approx(pane.v_atm, rel=0.005)


def test_a_skewed_smile_leans_the_density_and_leaves_its_mean_at_the_forward():
    pane = smiling_pane(skew=-1.5, reach=0.06).exposure()
    x, p = implied_density(pane, 5000.0)
    assert (p * x).sum() == pytest.approx(pane.forward, rel=2e-4)
    deviation = (x - pane.forward) / (5000.0 * pane.v_atm)
    assert (p * deviation**3).sum() < -0.05


def test_without_gamma_to_either_side_nothing_pulls():
    pane = smiling_pane(skew=0.0).exposure()
    found = dealer_gravity(pane, AXIS, GROSS // 2, GROSS, 5000.0, 40.0, None)
    assert found.best == pytest.approx(pane.forward, rel=1e-5)
    assert found.confidence == pytest.approx(0.0, abs=1e-9)
    assert found.wells == found.ridges == ()
    # Quantiles of a normal: 1.2816 deviations, which the hats of the grid widen a little.
    assert found.high - found.low == pytest.approx(2 * 1.2816 * 5000.0 * pane.v_atm, rel=0.01)


def test_an_exponential_tilt_shifts_a_normal_by_its_slope_times_the_variance():
    """q of a normal under exp(c x) is that normal moved by c * deviation^2, and KL is (c * deviation)^2 / 2."""
    pane = smiling_pane(skew=0.0).exposure()
    deviation = 5000.0 * pane.v_atm
    slope = np.rint(AXIS / 0.06 * 1e9).astype(np.int64)
    found = dealer_gravity(pane, AXIS, slope, GROSS, 5000.0, deviation, None)
    c = 2.0 / (0.06 * 5000.0)
    assert found.best - pane.forward == pytest.approx(c * deviation**2, rel=0.02)
    assert found.pull == pytest.approx((found.best - 5000.0) / deviation)
    assert found.confidence == pytest.approx(1 - math.exp(-((c * deviation) ** 2) / 2 / 0.05), rel=0.03)


@pytest.mark.parametrize(("move", "reason"), [(None, None), (40.0, "flat"), (40.0, "low_coverage")])
def test_it_is_missing_with_a_reason(move, reason):
    found = dealer_gravity(smiling_pane().exposure(), AXIS, GROSS, GROSS, 5000.0, move, reason)
    assert found.best is found.pull is found.confidence is None
    assert found.reason
    assert dealer_gravity(None, AXIS, GROSS, GROSS, 5000.0, 40.0, None).reason


def test_wells_are_maxima_above_zero_and_ridges_minima_below_with_a_tenth_of_prominence():
    net = np.zeros(61, dtype=np.int64)
    net[20], net[40], net[50] = 300_000_000, -200_000_000, 50_000_000
    found = dealer_gravity(smiling_pane().exposure(), AXIS, net, GROSS, 5000.0, 40.0, None)
    assert [(well.price, well.usd) for well in found.wells] == [(pytest.approx(4900.0), 300_000_000)]
    assert [(ridge.price, ridge.usd) for ridge in found.ridges] == [(pytest.approx(5100.0), -200_000_000)]


def slow_peaks(values, least):
    """The definition, point by point."""
    found = []
    for at in range(1, len(values) - 1):
        end = at
        while end + 1 < len(values) and values[end + 1] == values[at]:
            end += 1
        if values[at - 1] >= values[at] or end + 1 == len(values) or values[end + 1] > values[at]:
            continue
        bases = []
        for step in (-1, 1):
            lowest, place = values[at], at
            while 0 <= place < len(values) and values[place] <= values[at]:
                lowest, place = min(lowest, values[place]), place + step
            bases.append(lowest)
        if values[at] - max(bases) >= least:
            found.append((at, values[at], values[at] - max(bases)))
    return found


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=14), st.integers(1, 4))
def test_peaks_are_those_of_the_definition(values, least):
    found = peaks(np.arange(len(values), dtype=float), np.array(values), least)
    assert [(int(at), height, rise) for at, height, rise in found] == slow_peaks(values, least)


def of(best):
    return Gravity(None, best=best)


def test_a_minutes_record_is_its_last_and_never_changes_once_another_minute_came():
    record, final = next_minute(None, of(1.0), 60_000)
    assert final is None
    record, final = next_minute(record, of(2.0), 90_000)
    record, final = next_minute(record, of(3.0), 80_000)  # late, within its minute: the newer one stands
    assert (record.gravity.best, final) == (2.0, None)
    record, final = next_minute(record, of(4.0), 125_000)
    assert (final.minute, final.ts, final.gravity.best) == (60_000, 90_000, 2.0)
    record, final = next_minute(record, of(5.0), 119_999)  # for a minute that is final: dropped
    assert (record.minute, record.gravity.best, final) == (120_000, 4.0, None)


@given(st.lists(st.integers(0, 600_000), min_size=1, max_size=60))
def test_no_minute_is_final_twice_and_finals_ascend(times):
    record, finals = None, []
    for number, ts in enumerate(times):
        record, final = next_minute(record, of(float(number)), ts)
        finals += [final.minute] if final else []
    assert finals == sorted(set(finals))
    assert record.minute not in finals
