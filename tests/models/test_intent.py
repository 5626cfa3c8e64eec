"""Liquidity Intent against a scalar repricing with the standard library, and flows of trades by hand."""

import math

import numpy as np
import pytest

from pipeline.models.intent import flow_delta, hedge_flow, liquidity_intent, quadrant_of, trade_sign

from .smiling_chains import MONDAY, smiling_pane

NAN = np.nan


def cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def dealers_delta(exposures, spot):
    """Shares: calls held less puts held, contract by contract."""
    total = 0.0
    for pane in exposures:
        forward = pane.forward * spot / pane.spot
        for at, strike in enumerate(pane.strikes):
            d1 = math.log(forward / strike) / pane.v[at] + pane.v[at] / 2
            asset = pane.discount * forward / spot
            total += pane.shares[0, at] * asset * cdf(d1) - pane.shares[1, at] * asset * (cdf(d1) - 1)
    return total


def test_hedges_are_what_full_repricing_says():
    exposures = [smiling_pane().exposure(), smiling_pane(expiration=MONDAY).exposure()]
    targets = np.array([4900.0, 4999.0, 5000.0, 5020.0, 5200.0])
    found = hedge_flow(exposures, 5000.0, targets)
    wanted = [-(dealers_delta(exposures, x) - dealers_delta(exposures, 5000.0)) * 5000.0 for x in targets]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-3)
    assert found[2] == 0.0


def test_dealers_long_gamma_sell_rises_and_buy_falls():
    interest = np.zeros((2, 81))
    interest[0, 40] = 1000.0  # calls at the money
    pane = smiling_pane(interest=interest).exposure()
    up, down = hedge_flow([pane], 5000.0, np.array([5010.0, 4990.0]))
    assert up < 0.0 < down


def test_charm_flow_is_the_dealers_delta_melting_for_an_hour():
    interest = np.zeros((2, 81))
    interest[0, 44] = 1000.0  # calls 20 above: their delta melts, so that dealers buy back what they are short
    pane = smiling_pane(interest=interest)
    later = smiling_pane(interest=interest, as_of_ms=pane.values.as_of_ms + 3_600_000)
    flow = pane.exposure().charm_flow
    melted = -(dealers_delta([later.exposure()], 5000.0) - dealers_delta([pane.exposure()], 5000.0)) * 5000.0
    assert flow > 0
    # The first hour of 29: first order in time is good to a few percent.
    assert flow == pytest.approx(melted, rel=0.06)


def test_bias_and_lfi_by_hand():
    pane = smiling_pane().exposure()
    found = liquidity_intent([pane], 5000.0, 40.0, 0.05, None)
    flows = [found.up, found.down, found.charm]
    assert found.lfi == pytest.approx(50 * (1 + math.tanh(0.5)))
    assert found.bias == pytest.approx(100 * sum(flows) / sum(map(abs, flows)))
    np.testing.assert_allclose(hedge_flow([pane], 5000.0, np.array([5020.0, 4980.0])), flows[:2])


@pytest.mark.parametrize(
    ("lfi", "bias", "quadrant"),
    [(50, -1, "capped"), (50, 0, "supported"), (49.9, -1, "downside_acceleration"), (49.9, 0, "upside_squeeze")],
)
def test_quadrants(lfi, bias, quadrant):
    assert quadrant_of(lfi, bias) == quadrant


@pytest.mark.parametrize(("move", "ratio", "reason"), [(None, 0.1, None), (5.0, None, None), (5.0, 0.1, "flat")])
def test_it_is_missing_with_a_reason(move, ratio, reason):
    found = liquidity_intent([smiling_pane().exposure()], 5000.0, move, ratio, reason)
    assert found.lfi is found.bias is found.quadrant is found.up is None
    assert found.reason


def test_the_quote_rule():
    price = np.array([1.1, 1.2, 1.0, 0.9, 1.05, 1.0, 1.0, 1.0])
    bid = np.array([1.0, 1.0, 1.0, 1.0, 1.0, NAN, 1.2, 1.0])
    ask = np.array([1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.0])
    assert trade_sign(price, bid, ask).tolist() == [1, 1, -1, -1, 0, 0, 0, 0]


def test_flow_delta_is_signed_size_times_delta_by_second_in_any_order():
    ts = np.array([10_999, 10_000, 12_500, 10_500])
    sign = np.array([1, -1, 1, 1], dtype=np.int8)
    size, delta = np.array([2.0, 1.0, 4.0, 5.0]), np.array([0.5, 0.25, -0.5, NAN])
    multiplier = np.full(4, 100.0)
    seconds, usd = flow_delta(ts, sign, size, delta, multiplier, 5000.0)
    assert seconds.tolist() == [10_000, 12_000]
    # -(2 * 0.5 - 1 * 0.25) * 100 * 5000 and -(4 * -0.5) * 100 * 5000
    assert usd.tolist() == [-375_000.0, 1_000_000.0]
    turned = flow_delta(ts[::-1], sign[::-1], size[::-1], delta[::-1], multiplier, 5000.0)
    assert turned[1].tobytes() == usd.tobytes()
    empty = flow_delta(ts[:0], sign[:0], size[:0], delta[:0], multiplier[:0], 5000.0)
    assert empty[0].size == empty[1].size == 0
