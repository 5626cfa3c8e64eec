"""Sessions over the recorded chains and path beside the checkout; skipped, saying so, where they are absent."""

from datetime import datetime

import httpx
import numpy as np
import pytest

from pipeline.cboe import read_chain
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.simulator.clock import NEW_YORK
from pipeline.simulator.server import build_market


@pytest.fixture
def data(shared_data):
    return shared_data / "data"


def test_a_recorded_chain_is_served_as_of_its_own_afternoon(data):
    path = data / "cboe_spx_2026-08-20_close.csv.gz"
    settings = SimulatorSettings(chain=path, chain_spot=7641.1602, rate=0, clock_speed=0)
    chain = read_chain(path)
    with (
        Simulator(settings) as sim,
        httpx.Client(base_url=sim.url, headers={"Authorization": "Bearer sim"}, trust_env=False) as http,
    ):
        rows, url = {}, "/v3/snapshot/options/I:SPX?limit=250"
        pages = 0
        while url:
            body = http.get(url).json()
            rows |= {row["details"]["ticker"]: row for row in body["results"]}
            url, pages = body.get("next_url", ""), pages + 1
        status = http.get("/v1/marketstatus/now").json()
    assert (len(rows), pages) == (30_282, 122)
    assert status["serverTime"].startswith("2026-08-20T16:14:59")
    for i in range(0, len(chain), 501):
        row = rows[str(chain.ticker[i])]
        assert row["last_quote"].get("bid", 0) == pytest.approx(chain.bid[i], abs=0.006)
        assert row["open_interest"] == chain.open_interest[i]
        assert row.get("greeks", {"gamma": 0})["gamma"] == chain.gamma[i]
    assert next(iter(rows.values()))["underlying_asset"]["value"] == 7641.1602


@pytest.mark.parametrize(
    ("name", "symbol", "hour"),
    [("cboe_spx_2022-03-23_1011_intraday.csv.gz", "SPX", 10), ("cboe_ndx_2022-12-12_2031.csv.gz", "NDX", 20)],
)
def test_the_side_by_side_layout_is_served_too(data, name, symbol, hour):
    market, start = build_market(SimulatorSettings(chain=data / name, rate=0))
    assert (market.symbols, start.hour) == ([symbol], hour)
    assert len(market.ticker) > 19_000


def test_yesterdays_chain_is_moved_along_todays_recorded_path(data):
    settings = SimulatorSettings(
        chain=data / "cboe_spx_2026-08-20_close.csv.gz",
        chain_spot=7641.1602,
        spot_path=data / "spx_index_1min_2026-08-18_21.csv.gz",
        clock=datetime(2026, 8, 21, 9, 30, tzinfo=NEW_YORK),
        clock_speed=60,
        rate=2_000,
    )
    market, _ = build_market(settings)
    assert market.spot[0] != 7641.1602
    assert (market.bid <= market.ask)[market.ask > 0].all()
    # A call and a put at one strike still agree on the forward, so the chain was moved as a whole.
    today = (market.expiration == np.datetime64("2026-08-21")) & (np.array(market.root) == "SPXW")
    near = np.flatnonzero(today & (np.abs(market.strike - market.spot[0]) < 15))
    mid = (market.bid + market.ask) / 2
    for strike in np.unique(market.strike[near]):
        call, put = (next(r for r in near if market.strike[r] == strike and market.call[r] == side) for side in (1, 0))
        assert strike + mid[call] - mid[put] == pytest.approx(market.spot[0], abs=6)
    before = market.spot[0]
    for _ in range(40):
        market.step()
    assert market.spot[0] != before


def test_another_symbol_beside_a_recorded_chain_is_synthetic(data):
    settings = SimulatorSettings(chain=data / "cboe_spy_2026-08-20_close.csv.gz", symbols=("SPY", "NDX"), rate=0)
    market, _ = build_market(settings)
    assert market.symbols == ["SPY", "NDX"]
    assert market.index_ticker(0) == "SPY"
