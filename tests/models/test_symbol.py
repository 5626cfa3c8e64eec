"""All models of a symbol: real anchors, what must not change them, and the edges of the market."""

import math
from datetime import date, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.expiry import NEW_YORK, days_to_expiration, expiry_ms, years_to
from pipeline.models.exposure import expose, moves
from pipeline.models.pane import expires_of, solve
from pipeline.models.quotes import read_quotes
from pipeline.models.records import (
    books_record,
    gravity_record,
    intent_record,
    levels_record,
    mode_record,
    profiles_record,
)
from pipeline.models.symbol import symbol_models
from pipeline.models.volatility import pane_volatility

from .real_chains import NDX_2022, SPX_2022, SPX_2026, load
from .small_panes import claims, geometries
from .smiling_chains import AS_OF_MS, FRIDAY, MONDAY, models_of, smiling_pane, with_values

NAN = np.nan

# chain, within 12 days only, net bn, flip, call wall, put wall (those of the DTE rows that have one)
ANCHORS = [
    (SPX_2026, False, -16.58, 7664.7, 8000, 7600),
    (SPX_2026, True, -35.88, 7703.7, 7650, 7600),
    (SPX_2022, False, -2.29, 4487.4, 4500, 4400),
    (SPX_2022, True, -0.93, 4484.1, None, None),
    (NDX_2022, False, 1.04, 11044.0, 12000, 11500),
    (NDX_2022, True, 0.85, None, None, None),
]


def record(models):
    return {
        "books": books_record(models, None),
        "levels": levels_record(models.levels),
        "mode": mode_record(models.mode, models.constants),
        "intent": intent_record(models.intent, models.constants),
        "gravity": gravity_record(models.gravity, models.constants),
        "profiles": profiles_record(models.profiles),
        "vanna": dict(models.vanna),
        "charm": dict(models.charm),
    }


def real_models(name, near, max_points_per_tick=2.0):
    panes = []
    for pane in load(name):
        geometry, values = pane.geometry, pane.values
        if near and days_to_expiration(geometry.expiration, values.as_of_ms) > 12:
            continue
        quotes = read_quotes(values.bid, values.ask, geometry.listed)
        years = years_to(expires_of(geometry), values.as_of_ms)
        volatility = pane_volatility(
            geometry.strikes, quotes, values.iv, values.spot, years, values.rate, max_points_per_tick
        )
        panes.append(expose(geometry, values, volatility))
    values = load(name)[0].values
    return symbol_models(panes, values.spot, values.as_of_ms)


@pytest.mark.parametrize(("name", "near", "net", "flip", "call", "put"), ANCHORS)
def test_anchors_when_every_mid_is_taken(name, near, net, flip, call, put):
    """The anchors took every volatility that a mid gives, as here: they are met to the digits they have.

    Half a last digit: 0.005 bn of the net, 0.05 points of the flip.
    """
    models = real_models(name, near, math.inf)
    assert models.books["oi"]["net"] / 1e9 == pytest.approx(net, abs=0.0051)
    found = models.levels.flip
    if flip is None:
        assert (found.value, found.reason, found.sign, found.roots) == (None, "no_root", 1, ())
    else:
        assert found.reason is None
        assert found.value == pytest.approx(flip, abs=0.051)
    if call is not None:
        assert (models.levels.walls.call, models.levels.walls.put) == (call, put)


@pytest.mark.parametrize(("name", "near", "net", "flip", "call", "put"), ANCHORS)
def test_published_levels_differ_by_what_ticks_withhold(name, near, net, flip, call, put):
    """Strikes where a tick is worth more than two points take the smile instead.

    That is 0.25 % of gross in the net at most (0.11 of 44 bn, SPX 2022 within 12 days), and over the slope of G less
    than 1.5 % of an expected move in the flip (0.63 of 54 points, SPX 2026 within 12 days).
    """
    models = real_models(name, near)
    assert models.books["oi"]["net"] / 1e9 == pytest.approx(net, abs=0.0025 * models.books["oi"]["gross"] / 1e9)
    if flip is None:
        assert models.levels.flip.reason == "no_root"
    else:
        assert models.levels.flip.value == pytest.approx(flip, abs=0.015 * models.levels.expected_move)
    if call is not None:
        assert (models.levels.walls.call, models.levels.walls.put) == (call, put)


@pytest.mark.parametrize("name", [SPX_2026, SPX_2022, NDX_2022])
def test_derived_models_of_real_chains_are_within_their_ranges_and_agree_with_gamma(name):
    models = real_models(name, False)
    assert models.levels.coverage == 1.0
    assert 0 <= models.mode.score <= 100
    assert (models.mode.distance > 0) == (models.books["oi"]["net"] > 0)
    assert (models.intent.lfi > 50) == (models.mode.ratio > 0)
    assert -100 <= models.intent.bias <= 100
    gravity = models.gravity
    assert gravity.low < gravity.best < gravity.high
    assert 0 <= gravity.confidence < 1
    assert abs(gravity.pull) < 1


def test_the_straddle_at_the_money_is_four_fifths_of_the_expected_move():
    for pane in load(SPX_2026)[2:12]:
        if pane.geometry.settlement == "AM":
            continue
        values, strikes = pane.values, pane.geometry.strikes
        models = symbol_models(
            [expose(pane.geometry, values, solve(pane.geometry, values))], values.spot, values.as_of_ms
        )
        straddle = ((values.bid + values.ask) / 2).sum(axis=0)
        forward = float(np.median((strikes + (values.bid + values.ask)[0] / 2 - (values.bid + values.ask)[1] / 2)[
            np.argsort(np.abs(strikes - values.spot))[:10]]))
        at_the_money = float(np.interp(forward, strikes, straddle))
        assert at_the_money / models.levels.expected_move == pytest.approx(0.798, abs=0.012)


# --- what must not change anything ---

PANES = [smiling_pane(), smiling_pane(root="SPX"), smiling_pane(expiration=MONDAY), smiling_pane(expiration=FRIDAY,
         root="XSP", sigma=0.2)]  # fmt: skip


@given(st.permutations(PANES))
def test_the_order_in_which_panes_come_changes_no_bit(panes):
    assert orjson.dumps(record(models_of(panes))) == orjson.dumps(record(models_of(PANES)))


@settings(max_examples=25)
@given(
    scale=st.sampled_from([2, 3, 10, 25]),
    sigma=st.floats(0.08, 0.6),
    skew=st.floats(-1.0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_scaling_spot_strikes_and_prices_together_changes_nothing_without_a_unit(scale, sigma, skew, seed):
    interest = np.random.default_rng(seed).integers(0, 3000, (2, 81)).astype(float)
    made = [
        models_of([
            smiling_pane(sigma=sigma, skew=skew, interest=interest, scale=factor),
            smiling_pane(expiration=MONDAY, sigma=sigma, skew=skew, scale=factor),
        ])
        for factor in (1, scale)
    ]  # fmt: skip
    one, other = made
    # Exposures are whole dollars: what rounding them leaves is below a millionth here.
    assert other.mode.score == pytest.approx(one.mode.score, abs=1e-3)
    assert other.mode.label == one.mode.label
    assert other.intent.lfi == pytest.approx(one.intent.lfi, abs=1e-3)
    assert other.intent.bias == pytest.approx(one.intent.bias, abs=1e-3)
    assert other.intent.quadrant == one.intent.quadrant
    assert other.gravity.pull == pytest.approx(one.gravity.pull, abs=1e-5)
    assert other.gravity.confidence == pytest.approx(one.gravity.confidence, abs=1e-5)
    assert other.levels.expected_move == pytest.approx(scale * one.levels.expected_move, rel=1e-9)
    assert other.levels.walls.call == scale * one.levels.walls.call


def profile_of(pane):
    return pane.exposure().profile.astype(float)


@settings(max_examples=25)
@given(offset=st.floats(-20.0, 20.0), seed=st.integers(0, 2**32 - 1))
def test_g_is_continuous_in_spot(offset, seed):
    """A step of spot moves G by less than gross times the step in deviations, however small the step."""
    interest = np.random.default_rng(seed).integers(0, 3000, (2, 81)).astype(float)
    pane = with_values(smiling_pane(interest=interest), spot=5000.0 + offset)
    here = pane.exposure()
    gross = float(np.abs(here.profile).sum(axis=(0, 1)).max())
    for step in (1.0, 0.01, 1e-4):
        there = with_values(pane, spot=5000.0 + offset + step).exposure()
        moved = np.abs(there.profile - here.profile).max()
        assert moved <= 2.0 * gross * step / (5000.0 * here.v_atm) + 4.0


@settings(max_examples=25)
@given(strike=st.integers(20, 60), side=st.integers(0, 1), mills=st.integers(1, 20))
def test_g_is_continuous_in_quotes(strike, side, mills):
    """One quote moves one volatility, and the forward by no more than itself."""
    pane = smiling_pane()
    here = pane.exposure()
    bid, ask = pane.values.bid.copy(), pane.values.ask.copy()
    bid[side, strike] += mills / 1000.0
    ask[side, strike] += mills / 1000.0
    there = with_values(pane, bid=bid, ask=ask).exposure()
    gross = float(np.abs(here.profile).sum(axis=(0, 1)).max())
    # Gamma is at most d^2 / v steeper in v, vega at least F n(2.7) within the strikes that move; 50 is their ratio.
    assert np.abs(there.profile - here.profile).max() <= gross * 50.0 * (mills / 1000.0) / (5000.0 * here.v_atm)


def test_panes_computed_a_tick_apart_still_add_up():
    behind = [PANES[0], with_values(PANES[2], spot=4999.0)]
    together = models_of([PANES[0], PANES[2]])
    apart = models_of(behind, spot=5000.0)
    assert apart.levels.flip.value == pytest.approx(together.levels.flip.value, abs=1.0)
    assert apart.mode.score == pytest.approx(together.mode.score, abs=3.0)


# --- the edges ---


def assert_sound(models):
    text = orjson.dumps(record(models))
    assert b"NaN" not in text
    levels = models.levels
    assert (levels.flip.value is None) == (levels.flip.reason is not None)
    for model, value in ((models.mode, models.mode.score), (models.intent, models.intent.lfi),
                         (models.gravity, models.gravity.best)):
        assert (value is None) == (model.reason is not None)


def test_the_last_minute_of_a_0dte():
    last = expiry_ms(FRIDAY, "PM") - 60_000
    today, next_week = smiling_pane(as_of_ms=last, reach=0.03), smiling_pane(expiration=MONDAY, as_of_ms=last)
    models = models_of([today, next_week])
    assert_sound(models)
    # It still has its gamma, a great deal of it; moves are measured by the next expiration.
    assert models.levels.front == "2026-08-24:SPXW"
    assert models.books["oi"]["gross"] > 2 * models_of([next_week]).books["oi"]["gross"]
    alone = models_of([today])
    assert alone.levels.expected_move is None
    assert alone.levels.flip.reason == "low_coverage"
    assert_sound(alone)


def test_after_its_last_minute_a_pane_counts_nowhere():
    closed = expiry_ms(FRIDAY, "PM")
    today = smiling_pane(as_of_ms=closed)
    next_week = smiling_pane(expiration=MONDAY, as_of_ms=closed)
    assert record(models_of([today, next_week])) == record(models_of([next_week]))


def test_am_expiration_morning_settled_but_listed():
    morning = int(datetime(2026, 8, 21, 9, 30, tzinfo=NEW_YORK).timestamp() * 1000)
    settled = smiling_pane(root="SPX", as_of_ms=morning)
    trading = smiling_pane(root="SPXW", as_of_ms=morning)
    models = models_of([settled, trading])
    assert record(models) == record(models_of([trading]))
    assert models.levels.coverage == 1.0
    a_minute_before = morning - 60_000
    before = models_of([smiling_pane(root="SPX", as_of_ms=a_minute_before, reach=0.01),
                        smiling_pane(as_of_ms=a_minute_before)])
    assert before.books["oi"]["gross"] > models.books["oi"]["gross"]
    assert before.levels.front == "2026-08-21:SPXW"


@pytest.mark.parametrize(
    ("friday", "monday", "hours"),
    [(date(2026, 3, 6), date(2026, 3, 9), 71), (date(2026, 10, 30), date(2026, 11, 2), 73)],
    ids=["spring", "autumn"],
)
def test_over_a_change_of_daylight_saving_the_hours_count(friday, monday, hours):
    close = expiry_ms(friday, "PM")
    pane = smiling_pane(expiration=monday, as_of_ms=close)
    assert pane.exposure().expires_ms - close == hours * 3_600_000
    assert days_to_expiration(monday, close) == 3
    models = models_of([pane])
    assert_sound(models)
    assert models.levels.expected_move == pytest.approx(5000 * 0.15 * math.sqrt(hours / 8760), rel=0.01)


def test_an_early_close_ends_the_front_pane_three_hours_sooner():
    day = date(2026, 11, 27)
    noon = int(datetime(2026, 11, 27, 12, 30, tzinfo=NEW_YORK).timestamp() * 1000)
    early = expiry_ms(day, "PM") - 3 * 3_600_000
    panes = [smiling_pane(expiration=day, as_of_ms=noon, expires_ms=early, reach=0.02),
             smiling_pane(expiration=date(2026, 11, 30), as_of_ms=noon)]
    assert models_of(panes).levels.front == "2026-11-30:SPXW"
    without = [smiling_pane(expiration=day, as_of_ms=noon, reach=0.02), panes[1]]
    assert models_of(without).levels.front == "2026-11-27:SPXW"
    after = [smiling_pane(expiration=day, as_of_ms=early, expires_ms=early), panes[1]]
    assert record(models_of(after, as_of_ms=early)) == record(models_of([panes[1]], as_of_ms=early))


def test_a_pane_with_one_strike():
    models = models_of([smiling_pane(reach=0.0001)])
    assert_sound(models)
    assert models.strikes.tolist() == [5000.0]
    assert models.levels.max_pain == 5000.0
    assert models.levels.walls.call == models.levels.walls.put == 5000.0


def test_no_calls():
    models = models_of([smiling_pane(listed=[[False], [True]])])
    assert_sound(models)
    assert models.books["oi"]["call"] == 0 or models.books["oi"]["call"] is None
    assert models.books["oi"]["put"] < 0
    assert models.levels.walls.call is None
    assert models.levels.flip.reason == "no_root"
    assert models.levels.flip.sign == -1
    assert models.mode.score > 99
    assert models.intent.quadrant in {"downside_acceleration", "upside_squeeze"}


def test_no_open_interest():
    for nothing in (np.zeros((2, 81)), np.full((2, 81), NAN)):
        models = models_of([smiling_pane(interest=nothing)])
        assert_sound(models)
        assert models.levels.flip.reason == models.mode.reason == models.intent.reason == "flat"
        assert models.levels.max_pain is None
        assert models.levels.expected_move > 0  # prices alone give it
        assert models.books["volume"]["gross"] > 0


def test_all_quotes_empty():
    pane = smiling_pane()
    nothing = np.full((2, 81), NAN)
    models = models_of([with_values(pane, bid=nothing, ask=nothing)])
    assert_sound(models)
    assert models.levels.flip.reason == models.mode.reason == "low_coverage"
    assert models.levels.expected_move is None
    assert models.books["oi"]["net"] is None
    assert models.levels.max_pain is None


def test_holes_in_the_coverage_withhold_the_flip():
    """Open interest near spot without a volatility: a second expiration that nobody quotes."""
    nothing = np.full((2, 81), NAN)
    unquoted = with_values(smiling_pane(expiration=MONDAY), bid=nothing, ask=nothing)
    models = models_of([smiling_pane(), unquoted])
    assert models.levels.coverage == pytest.approx(0.5)
    assert models.levels.flip.reason == "low_coverage"
    assert models.levels.flip.value is None
    assert models.mode.reason == models.intent.reason == models.gravity.reason == "low_coverage"
    assert models.levels.walls.call is not None


@pytest.mark.parametrize("spot", [2500.0, 10_000.0, 4700.0, 5300.0], ids=["halved", "doubled", "below", "above"])
def test_spot_halved_doubled_or_outside_the_strikes(spot):
    assert_sound(models_of([with_values(pane, spot=spot) for pane in PANES]))


@pytest.mark.parametrize("spot", [NAN, 0.0, -1.0, math.inf])
def test_a_spot_that_is_none(spot):
    models = models_of([with_values(smiling_pane(), spot=spot)])
    assert_sound(models)
    assert models.levels.flip.reason == "low_coverage"
    assert models.levels.expected_move is None


def test_no_pane_at_all():
    models = symbol_models([], 5000.0, AS_OF_MS)
    assert_sound(models)
    assert models.levels.flip.reason == "low_coverage"


def test_stale_inputs_withhold_the_flip_and_keep_its_roots():
    exposures = [pane.exposure() for pane in PANES[:3]]
    fresh, stale = (symbol_models(exposures, 5000.0, AS_OF_MS, stale) for stale in (False, True))
    assert fresh.levels.flip.value is not None
    assert (stale.levels.flip.value, stale.levels.flip.reason) == (None, "stale")
    assert stale.levels.flip.roots == fresh.levels.flip.roots
    assert stale.mode == fresh.mode


def test_what_nothing_covers_is_not_called_stale():
    nothing = np.full((2, 81), NAN)
    unquoted = with_values(smiling_pane(expiration=MONDAY), bid=nothing, ask=nothing)
    models = symbol_models([smiling_pane().exposure(), unquoted.exposure()], 5000.0, AS_OF_MS, stale=True)
    assert models.levels.flip.reason == models.mode.reason == "low_coverage"


@settings(max_examples=40)
@given(data=st.data())
def test_no_claim_whatever_raises_or_becomes_infinite(data):
    panes = []
    for _ in range(data.draw(st.integers(1, 3))):
        geometry = data.draw(geometries())
        values = data.draw(claims(geometry.strikes.size))
        panes.append(expose(geometry, values, solve(geometry, values)))
    models = symbol_models(panes, panes[0].spot, panes[0].as_of_ms)
    assert_sound(models)
    assert models.profiles["oi"].net.shape == moves().shape
