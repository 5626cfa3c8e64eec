"""Strategies: the debit of every tile of a pane, exact to the thousandth of a dollar.

| strategy  | legs at anchor K                            |
|-----------|---------------------------------------------|
| single    | +1 K                                        |
| vertical  | +1 K, -1 K+w (calls) or -1 K-w (puts)       |
| butterfly | +1 K-w, -2 K, +1 K+w                        |

Legs are carried as integers of half a mill, because a mid may end in half a mill; sums are exact, and are rounded
once, half to even.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.quotes import MILLS_PER_DOLLAR, Booleans, Floats, Integers, Quotes

Mills = NDArray[np.int32]
Indices = NDArray[np.intp]

MISSING = -(2**31)
"""A tile whose legs are not all priced."""

SIDES = ("call", "put")
STRATEGIES = ("butterfly", "vertical", "single")
PRICINGS = ("mid", "buy", "sell")
"""First axis of a grid: all legs at mid; what it costs now; what it brings now."""

GRID_KEYS = tuple(f"{strategy}:{side}" for strategy in STRATEGIES for side in SIDES)


@dataclass(frozen=True, slots=True)
class Legs:
    """Where the legs of every anchor are: positions of K+w and K-w, intp[S, W], S where that strike does not exist."""

    up: Indices
    down: Indices


def find_legs(strikes: Floats, widths: Floats) -> Legs:
    """Locate K+w and K-w among ``strikes`` (float64[S], ascending), matched exactly in integer thousandths."""
    anchors = np.rint(strikes * MILLS_PER_DOLLAR).astype(np.int64)
    offsets = np.rint(widths * MILLS_PER_DOLLAR).astype(np.int64)
    return Legs(_positions(anchors, anchors[:, None] + offsets), _positions(anchors, anchors[:, None] - offsets))


def _positions(anchors: Integers, wanted: Integers) -> Indices:
    found = np.searchsorted(anchors, wanted)
    if anchors.size == 0:
        return found
    exact = anchors[np.minimum(found, anchors.size - 1)] == wanted
    return np.where(exact, found, anchors.size)


def grids(
    quotes: Quotes,
    legs: Legs,
    previous: dict[str, Mills] | None = None,
    dirty: Booleans | None = None,
) -> dict[str, Mills]:
    """Every tile of a pane: key -> int32 mills, ``single:*`` [3, S], ``vertical:*`` and ``butterfly:*`` [3, S, W].

    With ``previous`` (the grids of the same geometry) and ``dirty`` (bool[2, S], contracts whose quote changed since)
    only anchors with a dirty leg are computed again; the result is the same integers. Grids of a side without a dirty
    contract are the arrays of ``previous`` themselves: a grid is a value, never written to.
    """
    result: dict[str, Mills] = {}
    everything = slice(quotes.priced.shape[1])
    for row, side in enumerate(SIDES):
        wing = legs.up if side == "call" else legs.down
        if previous is not None and dirty is not None and not dirty[row].any():
            result.update((f"{strategy}:{side}", previous[f"{strategy}:{side}"]) for strategy in STRATEGIES)
            continue
        book = _SideBook.of(quotes, row)
        for strategy in STRATEGIES:
            key = f"{strategy}:{side}"
            if previous is None or dirty is None:
                result[key] = book.tiles(strategy, everything, legs, wing)
            else:
                anchors = _touched(strategy, dirty[row], legs, wing)
                result[key] = previous[key].copy()
                result[key][:, anchors] = book.tiles(strategy, anchors, legs, wing)
    return {key: result[key] for key in GRID_KEYS}


def _touched(strategy: str, dirty: Booleans, legs: Legs, wing: Indices) -> Indices:
    """The anchors with a dirty leg at any width."""
    touched = dirty.copy()
    padded = np.append(dirty, False)
    if strategy == "vertical":
        touched |= padded.take(wing).any(axis=1)
    elif strategy == "butterfly":
        touched |= padded.take(legs.up).any(axis=1) | padded.take(legs.down).any(axis=1)
    return np.flatnonzero(touched)


@dataclass(frozen=True, slots=True)
class _SideBook:
    """One side's prices [3, S+1] by pricing: mids in half-mills, natural prices in mills.

    The last column stands for a strike that does not exist.
    """

    long: Mills
    short: Mills
    priced: Booleans

    @classmethod
    def of(cls, quotes: Quotes, row: int) -> "_SideBook":
        bid, ask = quotes.bid[row], quotes.ask[row]
        # MAX_PRICE_MILLS keeps two mids in half-mills, which is the most that any step of a tile comes to, below 2**31.
        long, priced = np.zeros((3, bid.size + 1), dtype=np.int32), np.zeros(bid.size + 1, dtype=np.bool_)
        long[0, :-1], long[1, :-1], long[2, :-1], priced[:-1] = bid + ask, ask, bid, quotes.priced[row]
        # A short leg is sold at the bid when the tile is bought, and bought back at the ask when it is sold.
        return cls(long, long.take((0, 2, 1), axis=0), priced)

    def tiles(self, strategy: str, anchors: Indices | slice, legs: Legs, wing: Indices) -> Mills:
        if strategy == "single":
            return _to_mills(self.long[:, anchors].copy(), self.priced[anchors])
        here = self.priced[anchors, None]
        if strategy == "vertical":
            far = wing[anchors]
            debit = self.long[:, anchors, None] - self.short.take(far, axis=1)
            return _to_mills(debit, here & self.priced.take(far))
        down, up = legs.down[anchors], legs.up[anchors]
        debit = self.long.take(down, axis=1)
        debit += self.long.take(up, axis=1)
        debit -= 2 * self.short[:, anchors, None]
        return _to_mills(debit, here & self.priced.take(down) & self.priced.take(up))


def _to_mills(debit: Mills, priced: Booleans) -> Mills:
    """Row 0 from half-mills to mills, half to even in integer arithmetic; MISSING where not priced. In place."""
    half_mills = debit[0]
    half_mills += (half_mills >> 1) & 1
    half_mills >>= 1
    np.copyto(debit, MISSING, where=~priced)
    return debit
