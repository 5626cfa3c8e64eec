"""Frames: whatever comes is read into something; nothing raises."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.provider.chain import Chain
from pipeline.provider.frames import read_frame, read_value, root_of
from pipeline.provider.market import ms_of_ns, price_of, read_index

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(
        some.sampled_from(
            ["ev", "sym", "T", "t", "val", "status", "message", "details", "expiration_date", "underlying_asset",
             "value", "price", "last_updated", "ticker"]
        ), inner | some.sampled_from(["V", "Q", "status", "O:SPXW251219C06800000", "I:SPX", "2026-09-09"]), max_size=6,
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"{}", b'{"ev":"Q"}', b'[{"ev":"Q","sym":"O:SP', b'[{"ev":"T","p":NaN}]', b"\xff\xfe", b"7"],
)
def test_what_is_no_array_is_unreadable(payload: bytes) -> None:
    frame = read_frame(payload)
    assert not frame.readable
    assert not frame.events
    assert not frame.statuses


def test_a_frame_may_mix_statuses_and_events() -> None:
    frame = read_frame(b'[{"ev":"status","status":"success"},null,{"ev":"Q"},7,[]]')
    assert len(frame.statuses) == 1
    assert frame.events == (None, {"ev": "Q"}, 7, [])


@pytest.mark.parametrize(
    ("event", "root"),
    [
        ({"sym": "O:SPXW251219C06800000"}, "SPXW"), ({"sym": "O:SPY1250314C00400000"}, "SPY1"),
        ({"sym": "I:SPX"}, None), ({"sym": 7}, None), ({"T": "I:SPX"}, None), (None, None), ({"sym": "O:"}, None),
        ({}, None),
    ],
)
def test_the_root_is_read_from_the_right(event: Any, root: str | None) -> None:
    assert root_of(event) == root


@pytest.mark.parametrize(
    "event",
    [
        {"ev": "V", "T": "I:SPX", "val": value, "t": t}
        for value, t in [
            ("NaN", 1), (None, 1), (-1, 1), (0, 1), (1e7, 1), (1e300, 1), (True, 1), (5.0, "yesterday"), (5.0, None),
            (5.0, 0), (5.0, True), (5.0, 1.5), (5.0, 1 << 60),
        ]
    ] + [{"ev": "Q"}, {"ev": "V"}, {"ev": "V", "val": 5.0, "t": 1}, {"ev": "V", "T": 7, "val": 5.0, "t": 1}],
)
def test_a_value_that_cannot_be_right_is_none(event: dict[str, Any]) -> None:
    assert read_value(event) is None


@given(JSON)
def test_anything_can_be_read(content: Any) -> None:
    payload = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS) if _fits(content) else b"[]"
    for event in read_frame(payload).events:
        read_value(event)
        root_of(event)
    chain = Chain()
    chain.add([content])
    assert chain.contracts + chain.dropped == 1
    read_index(content)
    price_of(content)
    ms_of_ns(content)


def _fits(content: Any) -> bool:
    """Whether JSON as the provider writes it can hold this."""
    try:
        orjson.dumps(content)
    except TypeError:
        return False
    return True
