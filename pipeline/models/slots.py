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
# The three digits of 0..999.
_TRIPLES = np.frombuffer("".join(f"{number:03d}" for number in range(1000)).encode(), dtype=np.uint8).reshape(1000, 3)
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


def encode(ints: Integers, width: int, decimals: int, missing: int) -> Text:
    """Integers as decimal text: int64[n] -> uint8[n, width], right-aligned, ``null`` where equal to ``missing``.

    The value is ints / 10**decimals, always with ``decimals`` digits behind the point. Raises OverflowError naming
    the first value that does not fit.
    """
    ints = np.asarray(ints, dtype=np.int64).ravel()
    absent = ints == missing
    values = np.where(absent, 0, ints)
    negative = values < 0
    magnitude = np.abs(values)
    digits = np.maximum(np.searchsorted(_POWERS, magnitude, side="right") + 1, decimals + 1)
    length = digits + (1 if decimals else 0) + negative
    wrong = (length > width) | (magnitude < 0)  # the least int64 has no magnitude
    if wrong.any() or width < len(_NULL):
        offender = int(ints[np.argmax(wrong)]) if wrong.any() else "null"
        raise OverflowError(f"{offender} (with {decimals} decimals) does not fit a slot of {width} characters")
    text = np.empty((ints.size, width), dtype=np.uint8)
    digit_columns = width - 1 if decimals else width
    triples = np.empty((ints.size, -(-digit_columns // 3) * 3), dtype=np.uint8)
    rest = magnitude
    for column in range(triples.shape[1] - 3, -1, -3):
        quotient = rest // 1000
        triples[:, column : column + 3] = _TRIPLES[rest - quotient * 1000]
        rest = quotient
    plain = triples[:, triples.shape[1] - digit_columns :]
    if decimals:
        point = width - 1 - decimals
        text[:, :point], text[:, point], text[:, point + 1 :] = plain[:, :point], _POINT, plain[:, point:]
    else:
        text[:] = plain
    first = width - (length - negative)
    text[np.arange(width) < first[:, None]] = _SPACE
    signed = np.flatnonzero(negative)
    text[signed, first[signed] - 1] = _MINUS
    text[absent, : width - len(_NULL)] = _SPACE
    text[absent, width - len(_NULL) :] = _NULL
    return text


def decode(text: Text, decimals: int, missing: int) -> Integers:
    """The inverse of encode: uint8[n, width] -> int64[n]. Raises ValueError on text encode does not write."""
    absent = text[:, -1] == _NULL[-1]
    if text.shape[1] < len(_NULL) or (text[absent, -len(_NULL) :] != _NULL).any():
        raise ValueError("a slot is neither a number nor null")
    numbers = np.where(absent[:, None], np.uint8(_SPACE), text)
    if decimals:
        point = text.shape[1] - 1 - decimals
        if (numbers[~absent, point] != _POINT).any():
            raise ValueError(f"a slot has no point before its last {decimals} digits")
        numbers = np.delete(numbers, point, axis=1)
    negative = (numbers == _MINUS).any(axis=1)
    blank = (numbers == _SPACE) | (numbers == _MINUS)
    digits = np.where(blank, 0, numbers.astype(np.int64) - _ZERO)
    if ((digits < 0) | (digits > 9)).any():
        raise ValueError("a slot holds something that is no digit")
    powers = 10 ** np.arange(digits.shape[1] - 1, -1, -1, dtype=np.int64)
    values = digits @ powers
    return np.where(absent, missing, np.where(negative, -values, values))
