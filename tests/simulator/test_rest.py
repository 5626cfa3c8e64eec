import base64
from datetime import datetime
from urllib.parse import parse_qs

import httpx
import pytest

from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.simulator.clock import NEW_YORK
from tests.simulator.conftest import MORNING

CHAIN = "/v3/snapshot/options/I:SPX"


def walk(http: httpx.Client, url: str) -> list[dict]:
    """All rows over all pages."""
    rows = []
    while url:
        body = http.get(url).raise_for_status().json()
        rows += body["results"]
        url = body.get("next_url", "")
    return rows


def cursor_of(body: dict) -> dict[str, list[str]]:
    cursor = body["next_url"].partition("cursor=")[2]
    assert not cursor.endswith("=")
    padded = cursor + "=" * (-len(cursor) % 4)
    return parse_qs(base64.urlsafe_b64decode(padded).decode(), keep_blank_values=True)


@pytest.fixture(scope="module")
def rows(shared_still):
    with httpx.Client(base_url=shared_still.url, headers={"Authorization": "Bearer sim"}, trust_env=False) as client:
        return walk(client, f"{CHAIN}?limit=250")


def test_the_whole_chain_comes_over_pages_in_ticker_order(still, rows):
    tickers = [row["details"]["ticker"] for row in rows]
    assert tickers == still.market.ticker
    assert tickers == sorted(set(tickers))


def test_a_page_has_ten_rows_unless_asked_and_never_more_than_250(http):
    assert len(http.get(CHAIN).json()["results"]) == 10
    assert len(http.get(f"{CHAIN}?limit=7").json()["results"]) == 7
    assert len(http.get(f"{CHAIN}?limit=5000").json()["results"]) == 250


def test_the_next_page_is_an_absolute_url_without_the_key_and_with_a_keyset_cursor(still, http):
    response = http.get(f"{CHAIN}?limit=5&strike_price.gte=6700&apiKey=secret-key")
    url = response.json()["next_url"]
    assert url.startswith(f"{still.url}{CHAIN}?cursor=")
    assert "secret" not in url
    cursor = cursor_of(response.json())
    assert cursor["ap"] == [response.json()["results"][-1]["details"]["ticker"]]
    assert (cursor["limit"], cursor["strike_price.gte"], cursor["order"]) == (["5"], ["6700"], ["asc"])


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        ("strike_price=6800", lambda d: d["strike_price"] == 6800),
        ("strike_price.gte=6790&strike_price.lte=6810", lambda d: 6790 <= d["strike_price"] <= 6810),
        ("strike_price.gt=6790&strike_price.lt=6810", lambda d: 6790 < d["strike_price"] < 6810),
        ("expiration_date=2026-09-18", lambda d: d["expiration_date"] == "2026-09-18"),
        ("expiration_date.gte=2026-09-10&expiration_date.lt=2026-09-14&contract_type=put",
         lambda d: "2026-09-10" <= d["expiration_date"] < "2026-09-14" and d["contract_type"] == "put"),
    ],
)  # fmt: skip
def test_filters_hold_over_all_pages(http, rows, query, keep):
    found = walk(http, f"{CHAIN}?{query}&limit=40")
    assert [r["details"]["ticker"] for r in found] == [
        r["details"]["ticker"] for r in rows if keep(r["details"])
    ]  # fmt: skip
    assert found


@pytest.mark.parametrize("sort", ["strike_price", "expiration_date", "ticker"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_keep_the_order_asked_for(http, sort, order):
    found = walk(http, f"{CHAIN}?expiration_date.lte=2026-09-11&sort={sort}&order={order}&limit=99")
    keys = [(row["details"][sort], row["details"]["ticker"]) for row in found]
    assert keys == sorted(set(keys), reverse=order == "desc")
    assert len(keys) > 300


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "sort=size", "order=up", "strike_price.gte=x", "expiration_date=soon", "cursor=!!"]
)
def test_a_parameter_that_cannot_be_read_is_a_400_in_json(http, query):
    response = http.get(f"{CHAIN}?{query}")
    assert response.status_code == 400
    assert response.json()["status"] == "ERROR"


def test_a_row_has_the_fields_of_the_provider_and_no_null(rows):
    row = next(r for r in rows if "greeks" in r and r["day"] and r["last_trade"])
    assert set(row) == {
        "break_even_price", "day", "details", "greeks", "implied_volatility", "last_quote", "last_trade",
        "open_interest", "underlying_asset",
    }  # fmt: skip
    assert set(row["greeks"]) == {"delta", "gamma", "theta", "vega"}
    assert set(row["last_quote"]) >= {"bid", "ask", "bid_size", "ask_size", "midpoint", "last_updated", "timeframe"}
    assert len(str(row["last_quote"]["last_updated"])) == 19
    assert row["underlying_asset"]["value"] == 6800
    assert "price" not in row["underlying_asset"]
    assert "null" not in str(rows)
    assert "None" not in str(rows)


def test_rows_have_the_gaps_that_real_rows_have(rows):
    def share(gap):
        return sum(map(gap, rows)) / len(rows)

    assert 0.15 < share(lambda r: "greeks" not in r) < 0.3
    assert 0.05 < share(lambda r: "implied_volatility" not in r) < share(lambda r: "greeks" not in r)
    assert share(lambda r: r["day"] == {}) > 0.1
    assert share(lambda r: r["last_trade"] == {}) > 0.1
    assert share(lambda r: r["open_interest"] == 0) > 0.02
    assert share(lambda r: r["last_quote"].get("bid") == 0) > 0.01
    assert share(lambda r: "bid" not in r["last_quote"]) > 0.01
    assert any("ask" not in r["last_quote"] or r["last_quote"]["ask"] == 0 for r in rows)


def test_both_roots_are_listed_under_one_underlying(rows):
    triples = [tuple(r["details"][k] for k in ("expiration_date", "strike_price", "contract_type")) for r in rows]
    assert len(set(triples)) < len(triples)


def test_an_unknown_underlying_has_no_rows_and_the_bare_symbol_is_unknown(http):
    assert http.get("/v3/snapshot/options/I:FOO").json()["results"] == []
    assert http.get("/v3/snapshot/options/SPX").json()["results"] == []


def test_one_contract_is_an_object_and_an_unknown_one_a_404(http, rows):
    row = http.get(f"{CHAIN}/{rows[100]['details']['ticker']}").json()["results"]
    assert row == rows[100]
    response = http.get(f"{CHAIN}/O:SPXW200101C01000000")
    assert response.status_code == 404
    assert response.json()["error"] == "Options contract not found."


def test_a_route_that_is_not_served_is_plain_text(http):
    response = http.get("/v9/nothing")
    assert (response.status_code, response.text) == (404, "404 page not found")
    assert response.headers["content-type"].startswith("text/plain")


def test_the_unified_snapshot_answers_unknown_tickers_with_rows(http, rows):
    option = rows[500]["details"]["ticker"]
    body = http.get("/v3/snapshot", params={"ticker.any_of": f"{option},I:SPX,NOPE"}).json()
    found, index, unknown = body["results"]
    assert (found["ticker"], found["type"], "day" in found) == (option, "options", False)
    assert found["session"] == rows[500]["day"]
    assert (index["type"], index["value"]) == ("indices", 6800)
    assert unknown == {"error": "NOT_FOUND", "message": "Ticker not found.", "ticker": "NOPE"}


def test_index_snapshots_carry_value_and_market_status(http):
    body = http.get("/v3/snapshot/indices", params={"ticker.any_of": "I:SPX,I:FOO"}).json()
    assert body["results"][0]["value"] == 6800
    assert body["results"][0]["market_status"] == "regular_trading"
    assert body["results"][1]["error"] == "NOT_FOUND"


def test_market_status_is_the_sessions_clock(still, http):
    before = http.get("/v1/marketstatus/now").json()
    assert before["market"] == "open"
    assert datetime.fromisoformat(before["serverTime"]) >= MORNING
    assert "." in before["serverTime"]


def test_the_reference_wants_the_bare_symbol_and_pages_by_a_thousand(http, rows):
    assert http.get("/v3/reference/options/contracts?underlying_ticker=I:SPX").json()["results"] == []
    contracts = walk(http, "/v3/reference/options/contracts?underlying_ticker=SPX&limit=1000")
    assert [c["ticker"] for c in contracts] == [r["details"]["ticker"] for r in rows]
    assert contracts[0]["underlying_ticker"] == "SPX"


def test_the_last_trade_of_a_contract_and_of_one_that_never_traded(http, rows):
    traded = next(r for r in rows if r["last_trade"])
    quiet = next(r for r in rows if not r["last_trade"])
    body = http.get(f"/v2/last/trade/{traded['details']['ticker']}").json()
    assert body["results"]["p"] == traded["last_trade"]["price"]
    assert body["results"]["t"] == traded["last_trade"]["sip_timestamp"]
    assert http.get(f"/v2/last/trade/{quiet['details']['ticker']}").status_code == 404


def test_requests_are_counted_by_path(still, http):
    before = still.requests["/v1/marketstatus/now"]
    http.get("/v1/marketstatus/now")
    assert still.requests["/v1/marketstatus/now"] == before + 1


def test_a_key_is_taken_from_the_header_or_the_query_and_must_be_there(still):
    with httpx.Client(base_url=still.url, trust_env=False) as anonymous:
        assert anonymous.get("/v1/marketstatus/now").json()["error"] == "API Key was not provided"
        assert anonymous.get("/v1/marketstatus/now?apiKey=a").status_code == 200


def test_before_the_open_quotes_are_missing_while_volume_is_yesterdays():
    clock = datetime(2026, 9, 9, 9, 20, tzinfo=NEW_YORK)
    with (
        Simulator(
            SimulatorSettings(symbols=("SPX",), rate=0, clock=clock, clock_speed=0, keys=frozenset({"k"}))
        ) as sim,
        httpx.Client(base_url=sim.url, headers={"Authorization": "Bearer k"}, trust_env=False) as http,
    ):
        rows = http.get(f"{CHAIN}?limit=250&expiration_date=2026-09-09").json()["results"]
        assert not any("bid" in r["last_quote"] or "ask" in r["last_quote"] for r in rows)
        assert any(r["day"].get("volume", 0) > 0 for r in rows)
        assert http.get("/v1/marketstatus/now").json()["market"] == "extended-hours"
        wrong = http.get("/v1/marketstatus/now", headers={"Authorization": "Bearer other"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "Unknown API Key")
