"""What a pane hands over, against scalar arithmetic with the standard library."""

import math

import numpy as np
import pytest

from pipeline.models.constants import Constants
from pipeline.models.exposure import BOOKS, SUMS, expose, moves
from pipeline.models.gex import MISSING_USD
from pipeline.models.pane import calculate, expires_of, solve

from .real_chains import SPX_2026, load
from .smiling_chains import smiling_pane, with_values

NAN = np.nan


def normal(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def test_the_axis_has_61_points_and_spot_in_its_middle():
    axis = moves()
    assert (axis.size, axis[0], axis[30], axis[60]) == (61, pytest.approx(-0.06), 0.0, pytest.approx(0.06))
    np.testing.assert_allclose(np.diff(axis), 0.002)


def test_every_point_of_the_profile_is_gamma_repriced_contract_by_contract():
    pane = smiling_pane()
    found = pane.exposure()
    volume = np.full(2, 3.0)
    for at, move in enumerate(moves().tolist()):
        spot, forward = 5000.0 * (1 + move), found.forward * (1 + move)
        wanted = np.zeros((2, 2))
        for place, strike in enumerate(found.strikes.tolist()):
            v = found.v[place]
            d1 = math.log(forward / strike) / v + v / 2
            gamma = forward * found.discount / spot * normal(d1) / (spot * v)
            dollars = gamma * 100.0 * spot * spot * 0.01
            for side, sign in enumerate((1, -1)):
                wanted[:, side] += sign * dollars * np.array([found.shares[side, place] / 100.0, volume[side]])
        np.testing.assert_allclose(found.profile[:, :, at], wanted, rtol=1e-9, atol=1.0)


def test_the_middle_of_the_profile_is_the_sum_of_gex():
    for pane in load(SPX_2026)[1:8]:
        found = expose(pane.geometry, pane.values, solve(pane.geometry, pane.values))
        sums = np.where(found.gex != MISSING_USD, found.gex, 0).sum(axis=2)
        # Rounded by contract there and as a whole here.
        assert np.abs(found.profile[:, :, 30] - sums).max() <= found.strikes.size


def test_gex_of_the_oi_book_is_the_published_one():
    for pane in load(SPX_2026)[:6]:
        found = expose(pane.geometry, pane.values, solve(pane.geometry, pane.values))
        np.testing.assert_array_equal(found.gex[0], calculate(pane.geometry, pane.values).gex)


def test_vanna_and_charm_are_slopes_of_the_dealers_delta():
    pane = smiling_pane()
    found, spot = pane.exposure(), 5000.0
    years = (expires_of(pane.geometry) - pane.values.as_of_ms) / (365 * 86_400_000)
    carry = math.log(found.forward / spot) / years
    rate = -math.log(found.discount) / years

    def delta(strike, sigma, left, side):
        v = sigma * math.sqrt(left)
        d1 = (math.log(spot / strike) + carry * left) / v + v / 2
        return math.exp((carry - rate) * left) * (cdf(d1) - (1.0 if side else 0.0))

    for place in range(0, found.strikes.size, 7):
        strike, sigma = found.strikes[place], found.v[place] / math.sqrt(years)
        for side, sign in enumerate((1, -1)):
            shares = sign * found.shares[side, place]
            point, hour = 1e-4, years * 1e-4
            vanna = (delta(strike, sigma + point, years, side) - delta(strike, sigma - point, years, side)) / 2 / point
            charm = (delta(strike, sigma, years - hour, side) - delta(strike, sigma, years + hour, side)) / 2 / hour
            assert found.vanna[side, place] == pytest.approx(shares * vanna * spot * 0.01, rel=1e-5, abs=2.0)
            assert found.charm[side, place] == pytest.approx(shares * charm * spot / 365.0, rel=1e-5, abs=2.0)


def test_sums_are_those_of_the_strikes_and_missing_where_a_side_knows_none():
    pane = smiling_pane()
    found = pane.exposure()
    np.testing.assert_array_equal(found.sums, np.stack([*found.gex, found.vanna, found.charm]).sum(axis=2))
    assert (len(SUMS), SUMS[: len(BOOKS)]) == (4, BOOKS)
    interest = pane.values.open_interest.copy()
    interest[1] = NAN
    assert with_values(pane, open_interest=interest).exposure().sums[0, 1] == MISSING_USD


def test_charm_flow_counts_what_is_left_once_that_is_less_than_an_hour():
    pane = smiling_pane()
    last = expires_of(pane.geometry) - 1_800_000
    half_hour = smiling_pane(as_of_ms=last, reach=0.01).exposure()
    drift = -half_hour.charm.sum() * 0.5 / 24
    assert half_hour.charm_flow == pytest.approx(drift, rel=1e-6)
    assert pane.exposure().charm_flow == pytest.approx(-pane.exposure().charm.sum() / 24, rel=1e-6)


@pytest.mark.parametrize("claim", [NAN, -1.0, math.inf, 1e300])
def test_open_interest_that_cannot_be_counts_as_none(claim):
    pane = smiling_pane()
    interest = pane.values.open_interest.copy()
    interest[0, 30] = claim
    found = with_values(pane, open_interest=interest).exposure()
    assert found.gex[0, 0, 30] == MISSING_USD
    assert found.shares[0, 30] == 0.0
    assert np.isfinite(found.profile).all()


def test_other_constants_give_another_axis():
    pane = smiling_pane()
    coarse = Constants(version=2, profile_half_width=0.03, profile_steps=3)
    found = expose(pane.geometry, pane.values, solve(pane.geometry, pane.values), coarse)
    assert found.profile.shape == (2, 2, 7)
    np.testing.assert_array_equal(found.profile[:, :, 3], pane.exposure().profile[:, :, 30])
