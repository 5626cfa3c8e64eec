"""Registers: what a value may be, how it is written down, and which of two is the newer."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walrus import Database

from pipeline import registers
from pipeline.registers import Register, ValueFault
from pipeline.scripts import _INCLUDE
from pipeline.shipped import shipped
from tests.world import T0

TEXTS = st.one_of(st.none(), st.floats(0, 1000).map(registers.decimal))
QUOTES = st.tuples(
    st.integers(T0, T0 + 3).map(str), st.integers(0, 3).map(str), TEXTS, TEXTS, TEXTS, TEXTS
).map(list)


@given(st.floats(0, 99_999.99))
def test_a_price_reads_back_to_the_same_float(number: float) -> None:
    text = registers.price(number, "bid")
    assert text is not None
    assert float(text) == number
    assert not text.endswith(".0")


@pytest.mark.parametrize(
    ("number", "text"), [(10, "10"), (10.0, "10"), (0, "0"), (-0.0, "0"), (0.05, "0.05"), (7.1, "7.1"), (1e-7, "1e-07")]
)
def test_a_price_is_the_shortest_decimal(number: float, text: str) -> None:
    assert registers.price(number, "bid") == text


def test_a_missing_value_stays_missing() -> None:
    assert registers.price(None, "bid") is registers.rate(None, "iv") is registers.count(None, "oi") is None
    assert registers.sequence(None, "q") == "0"


@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        (registers.price, -0.01, "negative_price"),
        (registers.price, 100_000, "out_of_range"),
        (registers.price, 10**400, "out_of_range"),
        (registers.price, math.nan, "not_finite"),
        (registers.price, math.inf, "not_finite"),
        (registers.price, "10", "wrong_type"),
        (registers.price, True, "wrong_type"),
        (registers.price, [1], "wrong_type"),
        (registers.rate, math.nan, "not_finite"),
        (registers.rate, "0.2", "wrong_type"),
        (registers.rate, {}, "wrong_type"),
        (registers.count, -1, "out_of_range"),
        (registers.count, 2e12, "out_of_range"),
        (registers.count, math.nan, "not_finite"),
        (registers.time_ms, None, "bad_time"),
        (registers.time_ms, float(T0), "bad_time"),
        (registers.time_ms, str(T0), "bad_time"),
        (registers.time_ms, True, "bad_time"),
        (registers.time_ms, T0 // 1000, "bad_time"),
        (registers.time_ms, T0 * 1000, "bad_time"),
        (registers.time_ms, -T0, "bad_time"),
        (registers.sequence, -1, "bad_sequence"),
        (registers.sequence, 2**53, "bad_sequence"),
        (registers.sequence, 1.0, "bad_sequence"),
        (registers.sequence, False, "bad_sequence"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(read: Callable[..., Any], value: object, reason: str) -> None:
    with pytest.raises(ValueFault) as fault:
        read(value, "it")
    assert fault.value.reason == reason
    assert "it" in str(fault.value)


def test_nanoseconds_are_floored_to_milliseconds() -> None:
    assert registers.time_ms(T0 * 1_000_000 + 999_999, "last_updated", 1_000_000) == str(T0)


def test_time_decides_then_sequence_by_number_then_the_values() -> None:
    first: Register = [str(T0), "9", "1", "2", None, None]
    assert registers.newest(first, [str(T0 + 1), "0", "1", "2", None, None]) != first
    assert registers.newest(first, [str(T0), "10", "1", "2", None, None]) != first
    assert registers.newest(first, [str(T0), "8", "9", "9", "9", "9"]) == first
    assert registers.newest(first, [str(T0), "9", "1", "2", "5", None]) != first
    assert registers.newest(first, None) == registers.newest(None, first) == first
    assert registers.newest(None, None) is None


@given(st.lists(QUOTES, min_size=2, max_size=4))
def test_any_order_ends_in_the_same_register(quotes: list[Register]) -> None:
    ends = set()
    for order in permutations(quotes):
        newest: Register | None = None
        for quote in order:
            newest = registers.newest(newest, quote)
        ends.add(tuple(newest or ()))
    assert len(ends) == 1


def test_scripts_and_python_agree_on_which_is_newer(database: Database) -> None:
    text = "#!lua\n-- @include newest\nreturn newer(ARGV[1], ARGV[2]) and 1 or 0"
    include = shipped("lua") / "include"
    script = database.register_script(_INCLUDE.sub(lambda match: (include / f"{match[1]}.lua").read_text(), text))

    @given(QUOTES, QUOTES)
    def agree(new: Register, held: Register) -> None:
        said = script([], [registers.packed(new), registers.packed(held)])
        assert bool(said) == (new != held and registers.newest(held, new) == new)

    agree()
