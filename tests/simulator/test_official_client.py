"""The provider's own client reads the simulator: REST over all pages, and both sockets."""

import asyncio
from dataclasses import replace

import pytest
from massive import RESTClient, WebSocketClient
from massive.exceptions import AuthError, BadResponse
from massive.websocket.models import EquityAgg, EquityQuote, EquityTrade, IndexValue

from pipeline.simulator import Simulator, SimulatorSettings
from tests.simulator.conftest import MORNING

SETTINGS = SimulatorSettings(symbols=("SPX",), rate=20_000, clock=MORNING, clock_speed=1)


@pytest.fixture(scope="module")
def live():
    with Simulator(SETTINGS) as sim:
        yield sim


@pytest.fixture
def rest(live):
    return RESTClient(api_key="sim", base=live.url, retries=0)


def listen(live, market, subscriptions, enough):
    """Messages until ``enough`` says so."""
    client = WebSocketClient(
        api_key="sim", feed=f"127.0.0.1:{live.port}", market=market, secure=False, subscriptions=subscriptions
    )
    seen = []

    async def take(messages):
        seen.extend(messages)
        if enough(seen):
            await client.close()

    asyncio.run(asyncio.wait_for(client.connect(take), 15))
    return seen


def test_it_lists_the_chain_over_all_pages(live, rest):
    rows = list(rest.list_snapshot_options_chain("I:SPX", params={"limit": 250}))
    assert [row.details.ticker for row in rows] == live.market.ticker
    priced = [row for row in rows if row.greeks is not None and row.greeks.delta is not None]
    assert len(priced) > 0.6 * len(rows)
    assert priced[0].underlying_asset.value > 6_000


def test_it_filters_the_chain(rest):
    params = {"limit": 250, "strike_price.gte": 6790, "strike_price.lte": 6810, "contract_type": "put"}
    rows = list(rest.list_snapshot_options_chain("I:SPX", params=params))
    assert {row.details.contract_type for row in rows} == {"put"}
    assert {row.details.strike_price for row in rows} <= {6790, 6795, 6800, 6805, 6810}


def test_it_reads_the_other_endpoints(live, rest):
    assert rest.get_market_status().market == "open"
    contract = rest.get_snapshot_option("I:SPX", live.market.ticker[1_000])
    assert contract.details.ticker == live.market.ticker[1_000]
    indices = list(rest.get_snapshot_indices(["I:SPX", "I:NONE"]))
    assert indices[0].value > 6_000
    assert indices[1].error == "NOT_FOUND"
    unified = list(rest.list_universal_snapshots(ticker_any_of=[live.market.ticker[1_000], "I:SPX"]))
    assert [row.type for row in unified] == ["options", "indices"]
    contracts = list(rest.list_options_contracts(underlying_ticker="SPX", limit=1_000))
    assert len(contracts) == len(live.market.ticker)


def test_it_meets_the_errors_as_the_providers(live, rest):
    live.inject("403x1")
    with pytest.raises(BadResponse, match="not entitled"):
        rest.get_market_status()


def test_it_hears_quotes_trades_and_bars_on_the_options_socket(live):
    near = [ticker for ticker in live.market.ticker if "W260909" in ticker]

    def enough(seen):
        return {type(message) for message in seen} >= {EquityQuote, EquityTrade, EquityAgg}

    seen = listen(live, "options", [f"Q.{ticker}" for ticker in near] + ["T.*", "A.*"], enough)
    quote = next(message for message in seen if isinstance(message, EquityQuote))
    assert quote.symbol in near
    assert quote.sequence_number > 0


def test_it_hears_values_on_the_indices_socket(live):
    seen = listen(live, "indices", ["V.I:SPX", "A.I:SPX"], lambda seen: len(seen) > 3)
    values = [message for message in seen if isinstance(message, IndexValue)]
    assert values[0].ticker == "I:SPX"
    assert values[0].value > 6_000


def test_it_knows_a_refused_key(live):
    live.inject("auth-failedx1")
    with pytest.raises(AuthError, match="authentication failed"):
        listen(live, "options", ["T.*"], lambda seen: True)


def test_it_reconnects_after_a_drop_and_not_after_a_close_of_1000(live):
    dropped = 0

    def enough(seen):
        nonlocal dropped
        if seen and not dropped:
            dropped = live.accepted
            live.drop_connections()
            seen.clear()
        return bool(dropped and seen and live.accepted > dropped)

    assert listen(live, "options", ["T.*"], enough)

    with Simulator(replace(SETTINGS, rate=100)) as sim:
        sim.inject("close:1000x1")
        # The client returns without a word: nobody told it to stop.
        assert not any(message is None for message in listen(sim, "options", ["T.*"], lambda seen: False))
        assert sim.accepted == 1
