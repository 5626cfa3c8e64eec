"""Slots: numbers as fixed-width text, so that a stored JSON document can be patched in place.

JSON allows white space before a number, hence a right-aligned number in a fixed width is always valid. Encoder and
decoder work on arrays: the encoder takes digits four at a time from tables (half of what it takes one by one).
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.models.quotes import Integers

Text = NDArray[np.uint8]

_SPACE, _MINUS, _POINT, _ZERO = b" -.0"
_NULL = np.frombuffer(b"null", dtype=np.uint8)
MAX_WIDTH = 18
DECIMALS = (0, 3)
"""So many a slot can have: with its point a number's fraction is four characters, or none."""


def _fours(texts: Iterable[str]) -> NDArray[np.uint32]:
    """Four characters each, as one number: they are moved at once."""
    return np.frombuffer("".join(texts).encode(), dtype=np.uint32)


# The characters of 0..9999 where digits stand to the left of them, and then where none do; units show a zero.
_GROUP = 10_000
_INNER = [f"{number:04}" for number in range(_GROUP)]
_LEADING = [f"{number:4}" for number in range(_GROUP)]
_UNITS, _HIGHER = _fours(_INNER + _LEADING), _fours([*_INNER, "    ", *_LEADING[1:]])
_FRACTIONS = _fours(f".{number:03}" for number in range(1000))
_NINE_DIGITS = 10**9
_POWERS = 10 ** np.arange(1, 18)
# The digit a character stands for; 0 for what may stand before a number, 255 for what may not be there at all.
_DIGITS = np.full(256, 255, dtype=np.uint8)
_DIGITS[np.frombuffer(b"0123456789", dtype=np.uint8)] = np.arange(10)
_DIGITS[[_SPACE, _MINUS]] = 0


def encode(ints: Integers, width: int, decimals: int, missing: int) -> Text:
    """Integers as decimal text: int64[n] -> uint8[n, width], right-aligned, ``null`` where equal to ``missing``.

    The value is ints / 10**decimals, always with ``decimals`` digits behind the point. Raises OverflowError naming
    the first value that does not fit, ValueError for a width an int64 cannot fill (4 to 18 are possible) and for
    decimals that are not of DECIMALS.
    """
    if decimals not in DECIMALS or not max(len(_NULL), decimals + 2) <= width <= MAX_WIDTH:
        raise ValueError(f"a slot of {width} characters with {decimals} decimals")
    ints = np.asarray(ints, dtype=np.int64).ravel()
    missing_at = np.flatnonzero(ints == missing)
    magnitude = np.abs(ints)
    magnitude[missing_at] = 0
    negative_at = np.flatnonzero(ints < 0)
    places = width - 1 if decimals else width  # digits that a slot has room for
    if magnitude.size and not (
        magnitude.min() >= 0  # the least int64 has no magnitude
        and magnitude.max() < 10**places and magnitude[negative_at].max(initial=0) < 10 ** (places - 1)
    ):
        largest = 10 ** np.where(ints < 0, places - 1, places)
        offender = int(ints[np.argmax((magnitude >= largest) | (magnitude < 0))])
        raise OverflowError(f"{offender} (with {decimals} decimals) does not fit a slot of {width} characters")
    point = width - 1 - decimals if decimals else width
    groups = -(-point // 4)
    rows = np.empty((ints.size, groups + (1 if decimals else 0)), dtype=np.uint32)
    whole = magnitude
    if decimals:
        whole = magnitude // 1000
        rows[:, -1] = _FRACTIONS.take(magnitude - whole * 1000)
    rest, table = whole, _UNITS
    for group in reversed(range(groups)):
        higher = rest // _GROUP
        rows[:, group] = table.take(rest - higher * _GROUP + _GROUP * (higher == 0))
        rest, table = higher, _HIGHER
    text: Text = rows.view(np.uint8)[:, -width:]
    digits = 1 + np.searchsorted(_POWERS, whole[negative_at], side="right")
    text[negative_at, point - 1 - digits] = _MINUS
    text[missing_at] = np.concatenate((np.full(width - len(_NULL), _SPACE, dtype=np.uint8), _NULL))
    return text


def decode(text: Text, decimals: int, missing: int) -> Integers:
    """The inverse of encode: uint8[n, width] -> int64[n]. Raises ValueError on text encode does not write."""
    width = text.shape[1]
    digits = _DIGITS.take(text)
    absent = np.flatnonzero(text[:, -1] == _NULL[-1])
    if absent.size:
        if width < len(_NULL) or (text[absent, -len(_NULL) :] != _NULL).any():
            raise ValueError("a slot is neither a number nor null")
        digits[absent] = 0
    point = width - 1 - decimals if decimals else width
    if decimals:
        if np.delete(text[:, point] != _POINT, absent).any():
            raise ValueError(f"a slot has no point before its last {decimals} digits")
        digits[:, point] = 0
    if digits.max(initial=0) > 9:
        raise ValueError("a slot holds something that is no digit")
    # A product of matrices takes less than column after column would; nine digits at a time it is exact.
    high, low = (digits.astype(np.float64) @ _places(width, point)).T.astype(np.int64)
    values: Integers = high * _NINE_DIGITS + low
    negative = np.flatnonzero(text.ravel() == _MINUS) // width
    values[negative] = -values[negative]
    values[absent] = missing
    return values


@lru_cache(maxsize=64)
def _places(width: int, point: int) -> NDArray[np.float64]:
    """What a digit of each column is worth in the upper and in the lower nine digits, float64[width, 2]."""
    places = np.zeros((width, 2))
    columns = [column for column in reversed(range(width)) if column != point]
    for power, column in enumerate(columns):
        places[column, 0 if power >= 9 else 1] = 10.0 ** (power % 9)
    return places
