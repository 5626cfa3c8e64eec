"""Slots: numbers as fixed-width text, so that a stored JSON document can be patched in place.

JSON allows white space before a number, hence a right-aligned number in a fixed width is always valid. Encoder and
decoder work on arrays: digits come from tables of three at a time, never from a loop over numbers.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.models.quotes import Integers

Text = NDArray[np.uint8]

_SPACE, _MINUS, _POINT, _ZERO = b" -.0"
_NULL = np.frombuffer(b"null", dtype=np.uint8)
MAX_WIDTH = 18
# The characters of 0..999, ones first: [3, 1000].
_TRIPLES = (_ZERO + np.arange(1000) // np.array([[1], [10], [100]]) % 10).astype(np.uint8)
# The digit a character stands for; 0 for what may stand before a number, 255 for what may not be there at all.
_DIGITS = np.full(256, 255, dtype=np.uint8)
_DIGITS[np.frombuffer(b"0123456789", dtype=np.uint8)] = np.arange(10)
_DIGITS[[_SPACE, _MINUS]] = 0


def encode(ints: Integers, width: int, decimals: int, missing: int) -> Text:
    """Integers as decimal text: int64[n] -> uint8[n, width], right-aligned, ``null`` where equal to ``missing``.

    The value is ints / 10**decimals, always with ``decimals`` digits behind the point. Raises OverflowError naming
    the first value that does not fit, ValueError for a width an int64 cannot fill (4 to 18 are possible).
    """
    if not max(len(_NULL), decimals + 2) <= width <= MAX_WIDTH:
        raise ValueError(f"a slot of {width} characters with {decimals} decimals")
    ints = np.asarray(ints, dtype=np.int64).ravel()
    absent = ints == missing
    values = np.where(absent, 0, ints)
    negative = values < 0
    magnitude = np.abs(values)
    point = width - 1 - decimals if decimals else width
    places = width - 1 if decimals else width  # digits that a slot has room for
    largest = 10 ** np.where(negative, places - 1, places)
    wrong = (magnitude >= largest) | (magnitude < 0)  # the least int64 has no magnitude
    if wrong.any():
        offender = int(ints[np.argmax(wrong)])
        raise OverflowError(f"{offender} (with {decimals} decimals) does not fit a slot of {width} characters")
    # Column by column: every operation runs along the numbers, over contiguous memory.
    columns = np.empty((width, ints.size), dtype=np.uint8)
    rest, triple = magnitude, magnitude
    first = np.full(ints.size, width - decimals - 2 if decimals else width - 1)  # column of the first digit
    for place in range(places):
        column = width - 1 - place - (1 if decimals and place >= decimals else 0)
        if place % 3 == 0:
            quotient = rest // 1000
            triple, rest = rest - quotient * 1000, quotient
        columns[column] = _TRIPLES[place % 3].take(triple)
        if place > decimals:
            significant = magnitude >= 10**place
            columns[column][~significant] = _SPACE
            first -= significant
    if decimals:
        columns[point] = _POINT
    signed = np.flatnonzero(negative)
    columns[first[signed] - 1, signed] = _MINUS
    text = columns.T.copy()
    text[absent, : width - len(_NULL)] = _SPACE
    text[absent, width - len(_NULL) :] = _NULL
    return text


def decode(text: Text, decimals: int, missing: int) -> Integers:
    """The inverse of encode: uint8[n, width] -> int64[n]. Raises ValueError on text encode does not write."""
    width = text.shape[1]
    columns = text.T.copy()
    absent = columns[-1] == _NULL[-1]
    if absent.any():
        if width < len(_NULL) or (columns[-len(_NULL) :, absent] != _NULL[:, None]).any():
            raise ValueError("a slot is neither a number nor null")
        columns[:, absent] = _SPACE
    point = width - 1 - decimals if decimals else width
    if decimals and (columns[point, ~absent] != _POINT).any():
        raise ValueError(f"a slot has no point before its last {decimals} digits")
    digits = _DIGITS[columns]
    values = np.zeros(text.shape[0], dtype=np.int64)
    for column in range(width):
        if column != point:
            if (digits[column] > 9).any():
                raise ValueError("a slot holds something that is no digit")
            values *= 10
            values += digits[column]
    negative = (columns == _MINUS).any(axis=0)
    values[negative] = -values[negative]
    values[absent] = missing
    return values
