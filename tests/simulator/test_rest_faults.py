"""Each REST fault as a client meets it."""

import json
from collections.abc import Iterator

import httpx
import pytest

from pipeline.contract import TickerError, parse_ticker

CHAIN = "/v3/snapshot/options/I:SPX"
STATUS = "/v1/marketstatus/now"


@pytest.fixture
def page(still, http) -> Iterator:
    """Get a chain page with these faults on."""

    def get(*faults: str, path: str = f"{CHAIN}?limit=250") -> httpx.Response:
        for fault in faults:
            still.inject(fault)
        return http.get(path)

    return get


def test_401_is_an_unknown_key(page):
    response = page("401")
    assert (response.status_code, response.json()["error"]) == (401, "Unknown API Key")
    assert response.json()["status"] == "ERROR"


def test_403_says_so_under_error_on_the_chain_and_under_message_elsewhere(page):
    chain, other = page("403"), page(path=STATUS)
    assert (chain.status_code, other.status_code) == (403, 403)
    assert chain.json()["status"] == other.json()["status"] == "NOT_AUTHORIZED"
    assert chain.json()["error"] == other.json()["message"]
    assert "message" not in chain.json()


def test_404_is_json_for_a_resource_and_text_for_a_route(page, still):
    assert page("404").json()["error"] == "Options contract not found."
    still.clear("404")
    response = page("404-route")
    assert (response.status_code, response.text) == (404, "404 page not found")


def test_429_with_retry_after_for_so_many_requests(page):
    responses = [page("429:3x2"), page(), page()]
    assert [r.status_code for r in responses] == [429, 429, 200]
    assert responses[0].headers["retry-after"] == "3"
    assert "maximum requests per minute" in responses[0].json()["error"]


def test_429_without_retry_after_and_with_an_empty_body(page, still):
    bare = page("429-bare")
    still.clear()
    empty = page("429-empty")
    assert (bare.status_code, empty.status_code) == (429, 429)
    assert "retry-after" not in bare.headers
    assert "retry-after" not in empty.headers
    assert (bare.json()["status"], empty.content) == ("ERROR", b"")


def test_server_errors_are_html_or_empty(page, still):
    for fault, code in (("500", 500), ("502", 502)):
        response = page(fault)
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (code, "text/html")
        still.clear()
    response = page("503-empty")
    assert (response.status_code, response.content) == (503, b"")


def test_a_slow_page_outlasts_a_clients_patience_and_holds_up_nobody_else(still, http):
    still.inject("slow-page:1x1")
    patience = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        http.get(CHAIN, timeout=patience)
    assert http.get(CHAIN).status_code == 200


def test_a_half_page_ends_in_the_middle_of_the_body(page):
    with pytest.raises(httpx.RemoteProtocolError):
        page("half-page:0.5")
    with pytest.raises(httpx.RemoteProtocolError):
        page("half-page:0")


def test_a_malformed_page_is_200_and_not_json(page, still):
    response = page("malformed-page")
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()
    still.clear()
    assert page("nan-page").text.endswith(":NaN}")


def test_an_oversized_page_is_as_large_as_asked(page):
    assert len(page("oversized-page:3").content) > 3 * 1024 * 1024


def test_a_cursor_loop_leads_to_the_same_page_for_ever(page, http):
    first = page("cursor-loop").json()
    second = http.get(first["next_url"]).json()
    third = http.get(second["next_url"]).json()
    assert second["next_url"] == third["next_url"]
    assert second["results"] == third["results"]


def test_a_foreign_next_url_points_at_another_origin(page, still):
    url = httpx.URL(page("foreign-next").json()["next_url"])
    assert url.host == "elsewhere.invalid"
    assert url.path == CHAIN


def test_an_empty_chain_is_a_page_without_rows(page):
    body = page("empty-chain").json()
    assert (body["status"], body["results"], "next_url" in body) == ("OK", [], False)


def test_vanished_contracts_are_the_same_ones_at_every_request(page, http, still):
    def tickers() -> list[str]:
        found, url = [], f"{CHAIN}?limit=250"
        while url:
            body = http.get(url).json()
            found += [row["details"]["ticker"] for row in body["results"]]
            url = body.get("next_url", "")
        return found

    still.inject("vanish:0.2")
    fewer = tickers()
    assert fewer == tickers()
    assert len(fewer) / len(still.market.ticker) == pytest.approx(0.8, abs=0.02)
    still.clear("vanish:0.2")
    assert len(tickers()) == len(still.market.ticker)


def test_a_listing_goes_on_though_its_anchor_vanishes_meanwhile(still, http):
    url, seen = f"{CHAIN}?limit=250", []
    while url:
        body = http.get(url).json()
        seen += [row["details"]["ticker"] for row in body["results"]]
        url = body.get("next_url", "")
        still.inject("vanish:1" if len(seen) > 1_000 else "vanish:0.5")
    assert len(seen) > 1_000
    assert seen == sorted(set(seen))


def test_null_rows_have_null_where_an_object_or_a_figure_belongs(page):
    rows = page("null-rows:0.5").json()["results"]
    nulls = {name for row in rows for name, value in row.items() if value is None}
    assert nulls >= {"last_quote", "greeks", "details", "underlying_asset", "open_interest"}
    assert any(row["last_quote"] and row["last_quote"].get("bid", 0) is None for row in rows)


def test_bad_rows_have_nine_digit_strikes_wrong_types_and_nan_text(page):
    rows = page("bad-rows:0.9").json()["results"]
    text = json.dumps(rows)
    assert '"NaN"' in text
    assert '"strike_price": "many"' in text
    assert '"2026-02-30"' in text
    unreadable = 0
    for row in rows:
        try:
            parse_ticker(str(row["details"]["ticker"]))
        except TickerError:
            unreadable += 1
    assert unreadable > 10


def test_adjusted_contracts_have_a_root_that_ends_in_a_digit(page):
    rows = page("adjusted:0.5").json()["results"]
    adjusted = [row["details"] for row in rows if row["details"]["shares_per_contract"] != 100]
    assert len(adjusted) > 50
    assert all(parse_ticker(details["ticker"]).root == "SPX1" for details in adjusted)


def test_open_interest_flips_between_repeated_requests(page):
    totals = [sum(row["open_interest"] for row in page("oi-flip").json()["results"]) for _ in range(3)]
    assert totals[0] == totals[2] != totals[1]


def test_rows_without_greeks_and_without_an_underlying_value(page, http):
    rows = page("no-greeks", "no-underlying").json()["results"]
    assert not any("greeks" in row or "implied_volatility" in row for row in rows)
    assert not any("value" in row["underlying_asset"] for row in rows)
    assert http.get("/v3/snapshot/indices").json()["results"][0]["error"] == "NOT_ENTITLED"


def test_delayed_rows_say_so_and_are_15_minutes_old(page):
    prompt = page().json()["results"][0]
    delayed = page("delayed").json()["results"][0]
    assert delayed["last_quote"]["timeframe"] == "DELAYED"
    age = prompt["last_quote"]["last_updated"] - delayed["last_quote"]["last_updated"]
    assert age == 15 * 60 * 1_000_000_000
