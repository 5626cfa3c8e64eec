"""Frames: what a provider may send is read, what it should not have sent is named, and nothing raises anything else."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.entry import Entry
from pipeline.frames import FrameError, FrameReader, Quote, SecondAggregate, Trade, read_event
from pipeline.registers import ValueFault, order
from pipeline.worth import Batch, Worth, Worths, quote_register, trade_register
from tests.world import T0, quote, tickers

TICKER = tickers()[0]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("ev", "sym", "t", "q", "bp", "ap", "bs", "as", "p", "s", "e", "av")


@pytest.fixture
def reader() -> FrameReader:
    return FrameReader()


def trade(**more: Any) -> dict[str, Any]:
    return {"ev": "T", "sym": TICKER, "p": 10.5, "s": 3, "t": T0, "q": 4, **more}


def aggregate(**more: Any) -> dict[str, Any]:
    return {"ev": "A", "sym": TICKER, "av": 120, "s": T0 - 1000, "e": T0, **more}


def worth_of(*events: object) -> Worth:
    """What frames of one event each say of the contract, whichever way they are decoded."""
    batch = Batch(Worths(("SPX",)), lambda _: T0 + 10**9)
    for number, event in enumerate(events, start=1):
        read, faults = FrameReader().read(orjson.dumps([event]))
        assert faults == []
        batch.add(Entry("s", f"{number}-0", {}), read, [])
    (worth,) = batch.sections["SPX"].worths
    return worth


def quote_of(event: object) -> str:
    held = worth_of(event).quote
    assert held is not None
    return quote_register(held)


def test_events_become_registers() -> None:
    worth = worth_of(quote(TICKER, 10.0, 10.55, T0, 7))
    assert (worth.ticker, worth.pane, worth.ts, worth.origin) == (TICKER, "2026-08-21:SPXW", T0, "1-0")
    assert worth.quote is not None
    assert quote_register(worth.quote) == f"{T0}|7|10|10.55|1|1"
    assert worth.trade is worth.volume is None
    traded = worth_of(trade()).trade
    assert traded is not None
    assert trade_register(traded) == f"{T0}|4|10.5|3"
    for kind in ("A", "AM"):
        volume = worth_of(aggregate(ev=kind)).volume
        assert volume is not None
        assert (volume.e, volume.av) == (T0, 120)


@pytest.mark.parametrize("kind", ["status", "V", "FMV", "LULD"])
def test_events_that_are_not_about_a_contracts_worth_are_passed_over(reader: FrameReader, kind: str) -> None:
    assert reader.read(orjson.dumps([{"ev": kind, "status": "auth_success"}])) == ([], [])


def test_a_quote_of_one_side_has_no_other() -> None:
    event = quote(TICKER, 1.0, 2.0, T0, 1)
    del event["bp"]
    assert quote_of(event) == f"{T0}|1||2|1|1"
    assert quote_of({**event, "bp": None}) == f"{T0}|1||2|1|1"


def test_a_crossed_quote_is_what_the_provider_said() -> None:
    """Whether it is usable is the models' business: a register keeps what is newest."""
    assert quote_of(quote(TICKER, 11.0, 10.0, T0, 1)) == f"{T0}|1|11|10|1|1"


@pytest.mark.parametrize("payload", [b"", b"[", b"[1,", b'[{"ev":"Q"', b"\xff\xfe", b"NaN", b"[NaN]", b"nonsense",
                                     b"[" * 5000, b'["\xed\xa0\x80"]'])
def test_a_frame_that_is_no_json_is_refused(reader: FrameReader, payload: bytes) -> None:
    with pytest.raises(FrameError, match="not JSON"):
        reader.read(payload)


@pytest.mark.parametrize("payload", [b"null", b"{}", b'"Q"', b"7", b'{"ev":"Q"}'])
def test_a_frame_that_is_no_array_is_refused(reader: FrameReader, payload: bytes) -> None:
    with pytest.raises(FrameError, match="not a JSON array"):
        reader.read(payload)


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_truncated_frame_is_refused(reader: FrameReader, cut: int) -> None:
    with pytest.raises(FrameError):
        reader.read(orjson.dumps([quote(TICKER, 1.0, 2.0, T0, 1)])[:-cut])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (7, "not_an_object"), (None, "not_an_object"), ([], "not_an_object"), ("Q", "not_an_object"),
        ({}, "no_type"), ({"ev": None}, "no_type"), ({"ev": ["Q"]}, "no_type"),
        ({"ev": "Q"}, "no_ticker"), ({"ev": "Q", "sym": 5}, "no_ticker"), ({"ev": "Q", "sym": {}}, "no_ticker"),
        (quote("SPX", 1.0, 2.0, T0, 1), "bad_ticker"), (quote("", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote("O:SPXW260821C007500000", 1.0, 2.0, T0, 1), "bad_ticker"),  # nine digits of strike
        (quote("O:SPXW260821C0750000", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote("O:SPXW260231C07500000", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote("O:SPXW260821X07500000", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote("O:SPXW260821C00000000", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote("O:SPXW260821C07500000\n", 1.0, 2.0, T0, 1), "bad_ticker"),
        (quote(TICKER, -1.0, 2.0, T0, 1), "negative_price"), (quote(TICKER, 1.0, -2.0, T0, 1), "negative_price"),
        (quote(TICKER, 1e300, 2.0, T0, 1), "out_of_range"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "bp": "1.0"}, "wrong_type"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "bs": -5}, "out_of_range"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "t": None}, "bad_time"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "t": T0 * 1_000_000}, "bad_time"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "q": -1}, "bad_sequence"),
        ({**quote(TICKER, 1.0, 2.0, T0, 1), "q": 1.5}, "bad_sequence"),
        (trade(p=None), "no_price"), (trade(p=-1), "negative_price"), (trade(s="many"), "wrong_type"),
        (aggregate(av=None), "no_volume"), (aggregate(e="now"), "bad_time"), (aggregate(av=-1), "out_of_range"),
    ],
)
def test_an_event_that_cannot_be_is_named(event: object, reason: str) -> None:
    assert reasons(event) == {reason: 1}


def reasons(*events: object) -> dict[str, int]:
    """What is counted of a frame of these events."""
    batch = Batch(Worths(("SPX",)), lambda _: T0 + 10**9)
    return dict(batch.add(Entry("s", "1-0", {}), *FrameReader().read(orjson.dumps(events))))


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_a_price_that_json_cannot_say_is_named(price: float) -> None:
    with pytest.raises(ValueFault) as fault:
        read_event(quote(TICKER, 1.0, price, T0, 1))
    assert fault.value.reason == "not_finite"


def test_a_bad_event_leaves_no_trace_for_the_next() -> None:
    bad, good = {**quote(TICKER, 1.0, 2.0, T0, 1), "t": None}, quote(TICKER, 1.0, 2.0, T0, 1)
    batch = Batch(Worths(("SPX",)), lambda _: T0 + 10**9)
    for number in range(2):
        counted = batch.add(Entry("s", f"{number}-0", {}), *FrameReader().read(orjson.dumps([bad, good])))
        assert counted == {"bad_time": 1}
    section = batch.sections["SPX"]
    (worth,) = section.worths
    assert section.events == 2
    assert worth.quote is not None


def test_of_events_in_any_order_the_newest_of_a_kind_and_the_oldest_time_stay() -> None:
    new, old = quote(TICKER, 3.0, 4.0, T0 + 9, 2), quote(TICKER, 1.0, 2.0, T0 + 5, 9)
    for first, second in ((new, old), (old, new)):
        worth = worth_of(first, second, trade(t=T0 + 7))
        assert worth.quote is not None
        assert worth.trade is not None
        assert quote_register(worth.quote) == f"{T0 + 9}|2|3|4|1|1"
        assert trade_register(worth.trade) == f"{T0 + 7}|4|10.5|3"
        assert worth.ts == T0 + 5
        assert worth.origin == ("2-0" if first is new else "1-0")


TIED = st.builds(
    lambda bid, ask, q, bs: {**quote(TICKER, bid, ask, T0, q), "bs": bs},
    st.sampled_from([1.0, 2.0, 10.0, 9.5, None]), st.sampled_from([10.0, 11.0, 9.0]), st.integers(1, 2),
    st.sampled_from([1, 2, 10]),
)


@given(st.lists(TIED, min_size=1, max_size=6))
def test_of_quotes_of_one_time_the_greatest_stays_as_the_script_orders_them(events: list[dict[str, Any]]) -> None:
    held = worth_of(*events).quote
    assert held is not None
    said = [quote_of(event) for event in events]
    assert quote_register(held) == max(said, key=lambda register: order(register.split("|")))


def test_an_event_of_another_epochs_time_or_of_a_foreign_underlying_is_counted() -> None:
    late, foreign = quote(TICKER, 1.0, 2.0, T0 + 10**9 + 1, 1), quote("O:NDXP260821C20000000", 1.0, 2.0, T0, 1)
    assert reasons(late, foreign, quote(TICKER, 1.0, 2.0, T0, 1)) == {"in_the_future": 1, "foreign": 1}


GOOD = st.one_of(
    st.fixed_dictionaries(
        {"ev": st.just("Q"), "sym": st.just(TICKER), "t": st.integers(T0, T0 + 9)},
        optional={"q": st.integers(0, 9) | st.none(), "bp": st.floats(0, 99_999) | st.integers(0, 9) | st.none(),
                  "ap": st.floats(0, 99_999), "bs": st.integers(0, 9) | st.none(), "as": st.integers(0, 9),
                  "x": st.integers(0, 99), "c": st.lists(st.integers(0, 99))},
    ),
    st.builds(lambda p, s: trade(p=p, s=s), st.floats(0, 99_999), st.integers(0, 99) | st.none()),
    st.builds(lambda av: aggregate(av=av), st.integers(0, 10**9)),
)


@given(st.lists(GOOD, max_size=5))
def test_decoding_at_once_and_event_by_event_say_the_same(events: list[dict[str, Any]]) -> None:
    at_once, none = FrameReader().read(orjson.dumps(events))
    one_by_one, faults = FrameReader().read(orjson.dumps([*events, {"ev": "status"}]))
    assert none == faults == []
    assert [_said(event) for event in at_once] == [_said(event) for event in one_by_one]


def _said(event: object) -> object:
    if isinstance(event, Quote):
        return quote_register(event)
    if isinstance(event, Trade):
        return trade_register(event)
    assert isinstance(event, SecondAggregate)
    return event.e, event.av


def test_a_ticker_in_foreign_digits_is_none() -> None:
    assert reasons({**quote(TICKER, 1.0, 2.0, T0, 1), "sym": "O:SPXW26082\u0661C07500000"}) == {"bad_ticker": 1}


@given(st.one_of(st.binary(max_size=80), JSON.map(orjson.dumps), st.lists(JSON, max_size=5).map(orjson.dumps)))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    read_all(payload)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.one_of(
    JSON, st.sampled_from(["Q", "T", "A", "AM", TICKER]), st.integers(T0, T0 + 9), st.floats(),
)), max_size=4))
def test_any_event_is_read_or_refused(events: list[dict[str, Any]]) -> None:
    read_all(orjson.dumps(events))
    for event in events:
        try:
            read_event(event)
        except ValueFault:
            pass


def read_all(payload: bytes) -> None:
    batch = Batch(Worths(("SPX",)), lambda _: T0 + 10**9)
    try:
        events, faults = FrameReader().read(payload)
    except FrameError:
        return
    batch.add(Entry("s", "1-0", {}), events, faults)
    for section in batch.sections.values():
        said = section.packed()
        for of in said["panes"]:
            assert all(len(register.split("|")) == 6 for register in of["quotes"]["quotes"])
