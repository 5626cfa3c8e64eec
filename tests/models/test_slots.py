import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.gex import MAX_USD, MISSING_USD
from pipeline.models.slots import decode, encode
from pipeline.models.strategies import MISSING


def texts(ints, width, decimals, missing):
    return [bytes(row).decode() for row in encode(np.array(ints, dtype=np.int64), width, decimals, missing)]


def test_numbers_are_right_aligned_with_their_decimals():
    assert texts([-12350, 0, 5, -1, 1000, MISSING], 11, 3, MISSING) == [
        "    -12.350",
        "      0.000",
        "      0.005",
        "     -0.001",
        "      1.000",
        "       null",
    ]
    assert texts([-7, 0, 123456789012, MISSING_USD], 16, 0, MISSING_USD) == [
        "              -7",
        "               0",
        "    123456789012",
        "            null",
    ]


def test_the_largest_tile_and_the_largest_sum_of_exposures_fit():
    assert texts([-999_999_998, 999_999_998], 11, 3, MISSING) == ["-999999.998", " 999999.998"]
    thousand_panes = 999 * MAX_USD
    assert texts([-thousand_panes], 16, 0, MISSING_USD) == ["-999000000000000"]


@pytest.mark.parametrize(
    ("value", "width", "decimals"),
    [(10_000_000_000, 11, 3), (-1_000_000_000, 11, 3), (10**17, 16, 0), (-(2**63), 18, 0)],
)
def test_a_number_that_does_not_fit_is_named(value, width, decimals):
    with pytest.raises(OverflowError, match=str(value)):
        encode(np.array([1, value]), width, decimals, MISSING)


@pytest.mark.parametrize(("width", "decimals"), [(3, 0), (19, 0), (4, 3)])
def test_a_width_that_cannot_be_a_slot_is_refused(width, decimals):
    with pytest.raises(ValueError, match="a slot of"):
        encode(np.array([1]), width, decimals, MISSING)


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-(10**9) + 1, 10**10 - 1), st.just(MISSING)), max_size=30))
def test_decode_is_the_inverse_of_encode_for_mills(ints):
    text = encode(np.array(ints, dtype=np.int64), 11, 3, MISSING)
    assert decode(text, 3, MISSING).tolist() == ints
    for value, row in zip(ints, text, strict=True):
        assert json.loads(bytes(row)) == (None if value == MISSING else value / 1000)


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-(10**15) + 1, 10**16 - 1), st.just(MISSING_USD)), max_size=30))
def test_decode_is_the_inverse_of_encode_for_dollars(ints):
    text = encode(np.array(ints, dtype=np.int64), 16, 0, MISSING_USD)
    assert decode(text, 0, MISSING_USD).tolist() == ints
    for value, row in zip(ints, text, strict=True):
        assert json.loads(bytes(row)) == (None if value == MISSING_USD else value)


@pytest.mark.parametrize("text", [b"    12,345 ", b"       nul1", b"   12.34500", b"       xull", b"     1x.000"])
def test_text_that_encode_does_not_write_is_refused(text):
    with pytest.raises(ValueError, match="slot"):
        decode(np.frombuffer(text, dtype=np.uint8)[None, :], 3, MISSING)
