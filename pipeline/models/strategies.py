"""Strategies: the debit of every tile of a pane, exact to the thousandth of a dollar.

| strategy  | legs at anchor K                            |
|-----------|---------------------------------------------|
| single    | +1 K                                        |
| vertical  | +1 K, -1 K+w (calls) or -1 K-w (puts)       |
| butterfly | +1 K-w, -2 K, +1 K+w                        |

Legs are carried as integers of half a mill, because a mid may end in half a mill; sums are exact, and are rounded
once, half to even.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

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
BOUNDED_KEYS = tuple(key for key in GRID_KEYS if not key.startswith("single"))
"""Of the tiles that have a width: the first of GRID_KEYS."""


@dataclass(frozen=True, slots=True, eq=False)
class Grids(Mapping[str, Mills]):
    """Every tile of a pane: key -> int32 mills, ``single:*`` [3, S], ``vertical:*`` and ``butterfly:*`` [3, S, W].

    ``cells`` holds them one after the other, in the order of GRID_KEYS; the grids are views of it.
    """

    cells: Mills
    strikes: int
    widths: int

    def __getitem__(self, key: str) -> Mills:
        number, plane = GRID_KEYS.index(key), self.strikes * self.widths
        if number < len(BOUNDED_KEYS):
            first = 3 * plane * number
            return self.cells[first : first + 3 * plane].reshape(3, self.strikes, self.widths)
        first = 3 * plane * len(BOUNDED_KEYS) + 3 * self.strikes * (number - len(BOUNDED_KEYS))
        return self.cells[first : first + 3 * self.strikes].reshape(3, self.strikes)

    def __iter__(self) -> Iterator[str]:
        return iter(GRID_KEYS)

    def __len__(self) -> int:
        return len(GRID_KEYS)

    def bounded(self) -> Mills:
        """Those of BOUNDED_KEYS: int32[4, 3, S, W]."""
        count = len(BOUNDED_KEYS) * 3 * self.strikes * self.widths
        return self.cells[:count].reshape(len(BOUNDED_KEYS), 3, self.strikes, self.widths)


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


@dataclass(frozen=True, slots=True, eq=False)
class TileLegs:
    """The legs of all T tiles of a pane, in the order of GRID_KEYS, anchors and widths.

    ``places`` intp[4, T] says which contracts they are: bought, bought, sold, sold, a contract being its place in
    [2, S] laid out flat. Two more places follow the contracts: that of a strike which does not exist, and that of no
    leg at all. ``cells`` intp[3, T] is where a tile's prices stand in ``Grids.cells``, ``bounds`` where the tiles of
    each of GRID_KEYS begin and end; ``of_contract`` names the tiles that each contract is a leg of.
    """

    places: Indices
    cells: Indices
    bounds: tuple[tuple[int, int], ...]
    of_contract: tuple[Indices, ...]
    strikes: int
    widths: int

    @classmethod
    def of(cls, strikes: Floats, widths: Floats) -> "TileLegs":
        legs, count = find_legs(strikes, widths), strikes.size
        absent, free = 2 * count, 2 * count + 1
        shape = (count, widths.size)
        rows: list[Indices] = []
        for strategy in STRATEGIES:
            for row, side in enumerate(SIDES):
                here = row * count + np.arange(count)
                up, down = (np.where(at < count, row * count + at, absent) for at in (legs.up, legs.down))
                nothing = np.full(shape, free)
                anchor = np.broadcast_to(here[:, None], shape)
                if strategy == "butterfly":
                    rows.append(np.stack((down, up, anchor, anchor)).reshape(4, -1))
                elif strategy == "vertical":
                    wing = up if side == "call" else down
                    rows.append(np.stack((anchor, nothing, wing, nothing)).reshape(4, -1))
                else:
                    rows.append(np.stack((here, *[np.full(count, free)] * 3)))
        places = np.concatenate(rows, axis=1)
        bounds = tuple(pairwise(np.cumsum([0, *(of.shape[1] for of in rows)]).tolist()))
        cells = np.concatenate([
            3 * first + (end - first) * np.arange(3)[:, None] + np.arange(end - first) for first, end in bounds
        ], axis=1)
        contracts, tiles = places[:3].ravel(), np.tile(np.arange(places.shape[1]), 3)  # the fourth: the third, or none
        order = np.argsort(contracts, kind="stable")
        of = np.searchsorted(contracts[order], np.arange(2 * count + 1)).tolist()
        of_contract = tuple(tiles[order[first:end]] for first, end in pairwise(of))
        return cls(places, cells, bounds, of_contract, count, widths.size)


    def tiles_of(self, dirty: Booleans) -> Indices:
        """The tiles with a leg among ``dirty`` contracts (bool[2, S]), some of them several times."""
        found = [self.of_contract[contract] for contract in np.flatnonzero(dirty).tolist()]
        return np.concatenate(found) if found else np.empty(0, dtype=np.intp)

    def cells_of(self, dirty: Booleans) -> Indices:
        """Where the prices of tiles_of stand in ``Grids.cells``."""
        return self.cells.take(self.tiles_of(dirty), axis=1).ravel()


def grids(
    quotes: Quotes, legs: TileLegs, previous: Grids | None = None, dirty: Booleans | None = None
) -> Grids:
    """Every tile of a pane.

    With ``previous`` (the grids of the same geometry) and ``dirty`` (bool[2, S], contracts whose quote changed since)
    only tiles with a dirty leg are computed again; the result is the same integers. Grids are values, never written to.
    """
    if previous is None or dirty is None:
        debits = _debits(quotes, legs.places)
        cells = np.concatenate([debits[:, first:end].ravel() for first, end in legs.bounds])
        return Grids(cells, legs.strikes, legs.widths)
    tiles = legs.tiles_of(dirty)
    if not tiles.size:
        return previous
    cells = previous.cells.copy()
    cells[legs.cells.take(tiles, axis=1)] = _debits(quotes, legs.places.take(tiles, axis=1))
    return Grids(cells, legs.strikes, legs.widths)


def _debits(quotes: Quotes, places: Indices) -> Mills:
    """What tiles with these legs cost, int32[3, tiles]."""
    contracts = quotes.priced.size
    # By pricing, mids in half-mills and natural prices in mills. MAX_PRICE_MILLS keeps two mids in half-mills, which is
    # the most that any step of a tile comes to, below 2**31. What is no contract costs nothing.
    long, priced = np.zeros((3, contracts + 2), dtype=np.int32), np.ones(contracts + 2, dtype=np.bool_)
    bid, ask = quotes.bid.ravel(), quotes.ask.ravel()
    long[0, :-2], long[1, :-2], long[2, :-2] = bid + ask, ask, bid
    priced[:-2], priced[-2] = quotes.priced.ravel(), False
    # A short leg is sold at the bid when the tile is bought, and bought back at the ask when it is sold.
    short = long.take((0, 2, 1), axis=0)
    debit: Mills = long.take(places[0], axis=1)
    debit += long.take(places[1], axis=1)
    debit -= short.take(places[2], axis=1)
    debit -= short.take(places[3], axis=1)
    half_mills = debit[0]  # half to even, in integer arithmetic
    half_mills += (half_mills >> 1) & 1
    half_mills >>= 1
    missing = np.flatnonzero(~priced.take(places).all(axis=0))
    for prices in debit:
        prices[missing] = MISSING
    return debit
