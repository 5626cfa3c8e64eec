"""Chain rows: a bad row costs itself, a bad part of a row costs that part, and a chain is never lost to either."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chain_rows import ChainContract, read_rows
from tests.test_frames import JSON
from tests.world import T0, row, tickers

TICKER, NEIGHBOUR = tickers()[:2]


def one(changed: dict[str, Any]) -> tuple[ChainContract | None, dict[str, int]]:
    """What becomes of a row whose neighbour is fine."""
    read = read_rows([row(NEIGHBOUR), changed], "SPX", T0)
    assert read.contracts[NEIGHBOUR] == read_rows([row(NEIGHBOUR)], "SPX", T0).contracts[NEIGHBOUR]
    return read.contracts.get(TICKER), dict(read.faults)


def details(**more: Any) -> dict[str, Any]:
    changed = row(TICKER)
    changed["details"] |= more
    return changed


def test_a_row_becomes_a_contract() -> None:
    contract, faults = one(row(
        TICKER, 10.0, 10.55, open_interest=12, implied_volatility=0.2, greeks={"delta": -0.5, "gamma": 1e-5},
        last_trade={"price": 10.25, "size": 2, "sip_timestamp": (T0 - 5) * 1_000_000},
        day={"volume": 77, "last_updated": (T0 - 3) * 1_000_000},
    ))
    assert contract is not None
    assert faults == {}
    assert (contract.ticker.pane, contract.ticker.side, contract.ticker.strike) == ("2026-08-21:SPXW", "call", 7500)
    assert contract.chain == ("12", "0.2", "-0.5", "1e-05", None, None)
    assert contract.quote == [str(T0), "0", "10", "10.55", "5", "7"]
    assert contract.trade == [str(T0 - 5), "0", "10.25", "2"]
    assert contract.volume == [str(T0 - 3), "77"]
    assert not contract.delayed


def test_missing_null_and_empty_parts_say_nothing() -> None:
    bare = {"details": {"ticker": TICKER}}
    nulls: dict[str, Any] = dict.fromkeys(("greeks", "last_quote", "last_trade", "day", "open_interest"))
    empty: dict[str, Any] = {name: {} for name in ("greeks", "last_quote", "last_trade", "day")}
    read = [one(bare | more)[0] for more in ({}, nulls, empty)]
    assert read[0] is not None
    assert read[0] == read[1] == read[2]
    assert read[0].chain == (None,) * 6
    assert read[0].quote is read[0].trade is read[0].volume is None


def test_null_details_are_details_that_are_not_said() -> None:
    contract, faults = one(details(shares_per_contract=None, contract_type=None, expiration_date=None,
                                   exercise_style=None))
    assert contract is not None
    assert faults == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (details(ticker=None), "no_ticker"), (details(ticker=7), "no_ticker"), ({"details": []}, "no_ticker"),
        (details(ticker="O:SPXW260821C007500000"), "bad_ticker"), (details(ticker="SPX"), "bad_ticker"),
        (details(ticker="O:NDXP260821C07500000"), "foreign"), (details(ticker="O:SPX1260821C07500000"), "adjusted"),
        (details(shares_per_contract=150), "adjusted"), (details(shares_per_contract="100"), "adjusted"),
        (details(contract_type="put"), "contradiction"), (details(contract_type=["call"]), "contradiction"),
        (details(expiration_date="2026-08-22"), "contradiction"), (details(expiration_date={}), "contradiction"),
    ],
)
def test_a_row_that_cannot_be_a_contract_is_counted(changed: dict[str, Any], reason: str) -> None:
    assert one(changed) == (None, {reason: 1})


@pytest.mark.parametrize("junk", [None, 7, "row", [], True, 1.5])
def test_what_is_no_row_is_counted(junk: object) -> None:
    read = read_rows([junk, row(TICKER)], "SPX", T0)
    assert set(read.contracts) == {TICKER}
    assert read.faults == {"not_an_object": 1}


@pytest.mark.parametrize(
    ("part", "lost", "reason"),
    [
        ({"last_quote": {"bid": -1, "ask": 2}}, "quote", "negative_price"),
        ({"last_quote": {"bid": 1e9, "ask": 2}}, "quote", "out_of_range"),
        ({"last_quote": {"bid": math.nan, "ask": 2}}, "quote", "not_finite"),
        ({"last_quote": {"bid": "1", "ask": 2}}, "quote", "wrong_type"),
        ({"last_quote": {"bid": 1, "ask": 2, "last_updated": "now"}}, "quote", "bad_time"),
        ({"last_quote": {"bid": 1, "ask": 2, "last_updated": T0}}, "quote", "bad_time"),  # ms where ns belong
        ({"last_trade": {"price": -1, "sip_timestamp": T0 * 10**6}}, "trade", "negative_price"),
        ({"last_trade": {"price": 1, "sip_timestamp": T0 * 10**9}}, "trade", "bad_time"),
        ({"day": {"volume": -1}}, "volume", "out_of_range"),
        ({"day": {"volume": "all"}}, "volume", "wrong_type"),
    ],
)
def test_a_bad_part_costs_that_part_alone(part: dict[str, Any], lost: str, reason: str) -> None:
    good = {
        "last_quote": {"bid": 1, "ask": 2}, "last_trade": {"price": 1, "sip_timestamp": T0 * 10**6},
        "day": {"volume": 1},
    }
    contract, faults = one(row(TICKER) | good | part)
    assert contract is not None
    assert faults == {reason: 1}
    assert {name for name in ("quote", "trade", "volume") if getattr(contract, name) is None} == {lost}


def test_a_quote_dated_years_ahead_is_refused() -> None:
    contract, faults = one(row(TICKER, ts=T0 + 10 * 365 * 86_400_000))
    assert contract is not None
    assert contract.quote is None
    assert sum(faults.values()) == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"open_interest": -5}, "out_of_range"), ({"open_interest": "12"}, "wrong_type"),
        ({"open_interest": 1e300}, "out_of_range"), ({"implied_volatility": math.inf}, "not_finite"),
        ({"implied_volatility": [0.2]}, "wrong_type"), ({"greeks": {"gamma": math.nan}}, "not_finite"),
        ({"greeks": {"vega": True}}, "wrong_type"),
    ],
)
def test_a_bad_number_of_the_chain_is_missing(changed: dict[str, Any], reason: str) -> None:
    contract, faults = one(row(TICKER) | changed)
    assert contract is not None
    assert contract.quote is not None
    assert faults == {reason: 1}


def test_a_crossed_quote_is_what_the_provider_said() -> None:
    contract, faults = one(row(TICKER, 11.0, 10.0))
    assert contract is not None
    assert contract.quote is not None
    assert contract.quote[2:4] == ["11", "10"]
    assert faults == {}


def test_a_repeated_row_is_one_contract() -> None:
    read = read_rows([row(TICKER, 1.0, 2.0), row(TICKER, 3.0, 4.0)], "SPX", T0)
    assert len(read.contracts) == 1
    assert read.faults == {"repeated": 1}


def test_delayed_quotes_say_so() -> None:
    changed = row(TICKER)
    changed["last_quote"]["timeframe"] = "DELAYED"
    contract, _ = one(changed)
    assert contract is not None
    assert contract.delayed


WORDS = dict.fromkeys(("contract_type", "expiration_date", "shares_per_contract", "exercise_style"), JSON)
PARTS = st.fixed_dictionaries({}, optional={
    "details": st.one_of(JSON, st.fixed_dictionaries({"ticker": st.sampled_from([TICKER, "O:X", 5])}, optional=WORDS)),
    "last_quote": st.one_of(JSON, st.dictionaries(st.sampled_from(["bid", "ask", "last_updated", "bid_size"]), JSON)),
    "last_trade": st.one_of(JSON, st.dictionaries(st.sampled_from(["price", "sip_timestamp", "size"]), JSON)),
    "day": JSON, "greeks": JSON, "open_interest": JSON, "implied_volatility": JSON,
})


@given(st.lists(st.one_of(JSON, PARTS), max_size=5))
def test_any_row_is_read_or_counted_and_never_costs_its_neighbour(rows: list[Any]) -> None:
    through_json = orjson.loads(orjson.dumps([row(NEIGHBOUR), *rows]))
    read = read_rows(through_json, "SPX", T0)
    assert NEIGHBOUR in read.contracts
    assert set(read.contracts) <= {TICKER, NEIGHBOUR}
    for contract in read.contracts.values():
        for register in (contract.chain, contract.quote, contract.trade, contract.volume):
            assert all(value is None or isinstance(value, str) for value in register or ())
