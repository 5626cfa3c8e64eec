"""A row: panes side by side.

A call of numpy costs as much as the arithmetic on some hundred strikes, and a pane has fewer. So what is computed of
every strike by itself is computed of several panes at once: their arrays are joined along the last axis, and what is
one number a pane is spread over its strikes. Each strike's bits stay what they are in its pane alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)

MOST_STRIKES = 4096
"""Of a row, about: sixteen panes of 250 strikes together take a quarter less than eight and eight."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where each of P panes begins and ends among the N strikes of all."""

    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Row":
        return cls(tuple(pairwise(accumulate(sizes, initial=0))))

    def spread(self, *values: Sequence[float]) -> Floats:
        """Figures of P panes each as ones of N strikes, float64[figures, N]."""
        sizes = [end - first for first, end in self.bounds]
        return np.repeat(np.array(values, dtype=np.float64), sizes, axis=1)

    def cut(self, joined: NDArray[Value]) -> list[NDArray[Value]]:
        """What each pane has of an array whose last axis is the row's: views of it."""
        return [joined[..., first:end] for first, end in self.bounds]

    def sums(self, joined: Integers | NDArray[np.bool_]) -> Integers:
        """Over each pane's strikes, int64[..., P]: exact, and 0 for a pane without strikes."""
        so_far = np.zeros((*joined.shape[:-1], joined.shape[-1] + 1), dtype=np.int64)
        joined.cumsum(axis=-1, dtype=np.int64, out=so_far[..., 1:])
        edges = so_far.take([0, *(end for _, end in self.bounds)], axis=-1)
        totals: Integers = np.diff(edges, axis=-1)
        return totals


def join(arrays: Sequence[NDArray[Value]]) -> NDArray[Value]:
    """Arrays of panes as one of their row."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)


def rows_of(sizes: Sequence[int]) -> list[slice]:
    """Panes of so many strikes in rows of about MOST_STRIKES: which panes each row takes."""
    rows: list[slice] = []
    first, strikes = 0, 0
    for number, size in enumerate(sizes):
        if number > first and strikes + size > MOST_STRIKES:
            rows.append(slice(first, number))
            first, strikes = number, 0
        strikes += size
    if sizes:
        rows.append(slice(first, len(sizes)))
    return rows
