from datetime import date

import numpy as np
import pytest

from pipeline.contract import parse_ticker
from pipeline.simulator.clock import to_ns
from pipeline.simulator.synthetic import PROFILES, expirations, synthetic_chain, third_friday
from tests.simulator.conftest import MORNING

NOW_NS = to_ns(MORNING)


@pytest.fixture(scope="module", params=sorted(PROFILES))
def chain(request):
    return synthetic_chain(request.param, NOW_NS, seed=1)


def test_a_chain_is_small_enough_for_a_first_run(chain):
    assert 3_000 <= len(chain) <= 7_000
    assert len(set(chain.ticker.tolist())) == len(chain)


def test_every_ticker_says_what_its_row_says(chain):
    for i in range(0, len(chain), 97):
        contract = parse_ticker(str(chain.ticker[i]))
        assert (contract.root, contract.side, contract.strike) == (chain.root[i], chain.side[i], chain.strike[i])
        assert np.datetime64(contract.expiration) == chain.expiration[i]
        assert contract.underlying == chain.symbol


def test_morning_and_afternoon_roots_share_dates_and_strikes():
    chain = synthetic_chain("SPX", NOW_NS, seed=1)
    monthly = np.datetime64(third_friday(MORNING.date()))
    strikes = [set(chain.strike[(chain.expiration == monthly) & (chain.root == root)]) for root in ("SPX", "SPXW")]
    assert strikes[0] == strikes[1] != set()


def test_expirations_are_daily_then_weekly_then_monthly():
    days = [day for day, _ in expirations(date(2026, 9, 9))]
    assert len([day for day in days if day <= date(2026, 9, 22)]) == 10
    assert all(day.weekday() == 4 for day in days if day > date(2026, 9, 22))
    assert sum(monthly for _, monthly in expirations(date(2026, 9, 9))) >= 5


def test_strikes_lie_five_apart_near_the_money_and_wider_outside():
    chain = synthetic_chain("SPX", NOW_NS, seed=1)
    strikes = np.unique(chain.strike[chain.expiration == np.datetime64("2026-09-11")])
    gaps = np.diff(strikes)
    near = np.abs(strikes[:-1] / chain.spot - 1) < 0.015
    assert set(gaps[near]) == {5.0}
    assert max(gaps) >= 100


def test_quotes_are_ordered_and_on_their_ticks(chain):
    priced = chain.ask > 0
    assert (chain.bid[priced] <= chain.ask[priced]).all()
    cents = np.round(chain.ask * 100).astype(int)
    tick = np.where(chain.ask < 3, 5, 10) if chain.symbol in ("SPX", "NDX") else np.ones(len(chain), dtype=int)
    assert (cents % tick == 0).mean() > 0.99
    assert 0.02 < (chain.bid == 0).mean() < 0.3


def test_no_butterfly_brings_money_at_quoted_prices(chain):
    """SSVI has no butterfly arbitrage, and the quotes round outwards."""
    pane = (chain.root == chain.root[0]) & (chain.expiration == chain.expiration[0]) & (chain.ask > 0)
    for side in ("call", "put"):
        rows = np.flatnonzero(pane & (chain.side == side))
        at = dict(zip(chain.strike[rows], rows, strict=True))
        for strike, row in at.items():
            for width in (5.0, 25.0, 50.0):
                wings = [at.get(strike - width), at.get(strike + width)]
                if None not in wings:
                    assert chain.ask[wings].sum() - 2 * chain.bid[row] > -1e-9


def test_the_smile_slopes_down_as_an_index_does():
    chain = synthetic_chain("SPX", NOW_NS, seed=1)
    rows = (chain.expiration == np.datetime64("2026-10-09")) & (chain.side == "put")
    iv = dict(zip(chain.strike[rows], chain.iv[rows], strict=True))
    near = {int(100 * (k / chain.spot - 1)): v for k, v in iv.items()}
    assert near[-5] > near[0] > near[3] * 0.9
    assert near[-5] > near[3]


def test_greeks_are_missing_as_often_as_the_provider_leaves_them_out():
    for symbol in ("SPX", "NDX"):
        chain = synthetic_chain(symbol, NOW_NS, seed=1)
        assert 0.15 < np.isnan(chain.gamma).mean() < 0.30


def test_open_interest_is_lumpy_at_round_strikes():
    chain = synthetic_chain("SPX", NOW_NS, seed=1)
    near = np.abs(chain.strike / chain.spot - 1) < 0.02
    hundred = near & (chain.strike % 100 == 0)
    other = near & (chain.strike % 25 != 0)
    assert chain.open_interest[hundred].mean() > 3 * chain.open_interest[other].mean()


def test_the_same_seed_gives_the_same_chain_and_another_seed_another():
    first, second, other = (synthetic_chain("NDX", NOW_NS, seed) for seed in (1, 1, 2))
    assert (first.open_interest == second.open_interest).all()
    assert (first.bid == second.bid).all()
    assert (first.open_interest != other.open_interest).any()


def test_an_unknown_symbol_is_named():
    with pytest.raises(ValueError, match=r"'ABC'.*SPX"):
        synthetic_chain("ABC", NOW_NS, seed=1)
