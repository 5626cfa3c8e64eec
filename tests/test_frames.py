"""Frames: what a provider may send is read, what it should not have sent is named, and nothing raises anything else."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.frames import FrameError, FrameReader, Update
from pipeline.registers import ValueFault
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


def read(reader: FrameReader, event: object) -> Update:
    found = reader.update(event, "1-0")
    assert found is not None
    assert found[0] == "SPX"
    return found[1]


def test_events_become_registers(reader: FrameReader) -> None:
    update = read(reader, quote(TICKER, 10.0, 10.55, T0, 7))
    assert (update.ticker, update.pane, update.ts, update.origin) == (TICKER, "2026-08-21:SPXW", str(T0), "1-0")
    assert update.quote == [str(T0), "7", "10", "10.55", "1", "1"]
    assert update.trade is update.volume is None
    assert read(reader, trade()).trade == [str(T0), "4", "10.5", "3"]
    assert read(reader, aggregate()).volume == read(reader, aggregate(ev="AM")).volume == [str(T0), "120"]


@pytest.mark.parametrize("kind", ["status", "V", "FMV", "LULD"])
def test_events_that_are_not_about_a_contracts_worth_are_passed_over(reader: FrameReader, kind: str) -> None:
    assert reader.update({"ev": kind, "status": "auth_success"}, "1-0") is None


def test_a_quote_of_one_side_has_no_other(reader: FrameReader) -> None:
    event = quote(TICKER, 1.0, 2.0, T0, 1)
    del event["bp"]
    assert read(reader, event).quote == [str(T0), "1", None, "2", "1", "1"]
    assert read(reader, {**event, "bp": None}).quote == [str(T0), "1", None, "2", "1", "1"]


def test_a_crossed_quote_is_what_the_provider_said(reader: FrameReader) -> None:
    """Whether it is usable is the models' business: a register keeps what is newest."""
    assert read(reader, quote(TICKER, 11.0, 10.0, T0, 1)).quote == [str(T0), "1", "11", "10", "1", "1"]


@pytest.mark.parametrize("payload", [b"", b"[", b"[1,", b'[{"ev":"Q"', b"\xff\xfe", b"NaN", b"[NaN]", b"nonsense",
                                     b"[" * 5000, b'["\xed\xa0\x80"]'])
def test_a_frame_that_is_no_json_is_refused(reader: FrameReader, payload: bytes) -> None:
    with pytest.raises(FrameError, match="not JSON"):
        reader.events(payload)


@pytest.mark.parametrize("payload", [b"null", b"{}", b'"Q"', b"7", b'{"ev":"Q"}'])
def test_a_frame_that_is_no_array_is_refused(reader: FrameReader, payload: bytes) -> None:
    with pytest.raises(FrameError, match="not a JSON array"):
        reader.events(payload)


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_truncated_frame_is_refused(reader: FrameReader, cut: int) -> None:
    with pytest.raises(FrameError):
        reader.events(orjson.dumps([quote(TICKER, 1.0, 2.0, T0, 1)])[:-cut])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (7, "not_an_object"), (None, "not_an_object"), ([], "not_an_object"), ("Q", "not_an_object"),
        ({}, "no_type"), ({"ev": None}, "no_type"), ({"ev": ["Q"]}, "no_type"),
        ({"ev": "Q"}, "no_ticker"), ({"ev": "Q", "sym": 5}, "no_ticker"), ({"ev": "Q", "sym": {}}, "no_ticker"),
        ({"ev": "Q", "sym": "SPX"}, "bad_ticker"), ({"ev": "Q", "sym": ""}, "bad_ticker"),
        ({"ev": "Q", "sym": "O:SPXW260821C007500000"}, "bad_ticker"),  # nine digits of strike
        ({"ev": "Q", "sym": "O:SPXW260821C0750000"}, "bad_ticker"),
        ({"ev": "Q", "sym": "O:SPXW260231C07500000"}, "bad_ticker"),
        ({"ev": "Q", "sym": "O:SPXW260821X07500000"}, "bad_ticker"),
        ({"ev": "Q", "sym": "O:SPXW260821C00000000"}, "bad_ticker"),
        ({"ev": "Q", "sym": "O:SPXW260821C07500000\n"}, "bad_ticker"),
        (quote(TICKER, -1.0, 2.0, T0, 1), "negative_price"), (quote(TICKER, 1.0, -2.0, T0, 1), "negative_price"),
        (quote(TICKER, 1e300, 2.0, T0, 1), "out_of_range"), (quote(TICKER, float("nan"), 2.0, T0, 1), "not_finite"),
        (quote(TICKER, 1.0, float("inf"), T0, 1), "not_finite"),
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
def test_an_event_that_cannot_be_is_named(reader: FrameReader, event: object, reason: str) -> None:
    with pytest.raises(ValueFault) as fault:
        reader.update(event, "1-0")
    assert fault.value.reason == reason


def test_a_bad_event_leaves_no_trace_for_the_next(reader: FrameReader) -> None:
    for _ in range(2):
        with pytest.raises(ValueFault):
            reader.update({**quote(TICKER, 1.0, 2.0, T0, 1), "t": None}, "1-0")
        assert read(reader, quote(TICKER, 1.0, 2.0, T0, 1)).quote


def test_merging_keeps_the_newest_register_and_the_oldest_event(reader: FrameReader) -> None:
    new, old = quote(TICKER, 3.0, 4.0, T0 + 9, 2), quote(TICKER, 1.0, 2.0, T0 + 5, 9)
    for first, second in ((new, old), (old, new)):
        update = read(reader, first)
        update.merge(read(reader, second))
        update.merge(read(reader, trade(t=T0 + 7)))
        assert update.quote == [str(T0 + 9), "2", "3", "4", "1", "1"]
        assert update.trade == [str(T0 + 7), "4", "10.5", "3"]
        assert update.ts == str(T0 + 5)
    assert update.packed()[4:] == [update.quote, update.trade, False, update.trade]


def test_a_ticker_in_foreign_digits_is_none(reader: FrameReader) -> None:
    event = {**quote(TICKER, 1.0, 2.0, T0, 1), "sym": "O:SPXW26082\u0661C07500000"}
    with pytest.raises(ValueFault, match="not an option ticker"):
        reader.update(event, "1-0")


@given(st.one_of(st.binary(max_size=80), JSON.map(orjson.dumps), st.lists(JSON, max_size=5).map(orjson.dumps)))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    read_all(payload)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.one_of(
    JSON, st.sampled_from(["Q", "T", "A", "AM", TICKER]), st.integers(T0, T0 + 9), st.floats(),
)), max_size=4))
def test_any_event_is_read_or_refused(events: list[dict[str, Any]]) -> None:
    read_all(orjson.dumps(events))
    for event in events:
        update_or_fault(event)


def read_all(payload: bytes) -> None:
    try:
        events = FrameReader().events(payload)
    except FrameError:
        return
    for event in events:
        update_or_fault(event)


def update_or_fault(event: object) -> None:
    try:
        found = FrameReader().update(event, "1-0")
    except ValueFault:
        return
    if found is not None:
        registers = [register for register in found[1].packed()[4:] if register]
        assert all(isinstance(value, str) or value is False for register in registers for value in register)
