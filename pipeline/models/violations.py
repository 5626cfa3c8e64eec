"""Violations: tiles whose price breaks a bound that holds without any model.

A vertical and a butterfly of width w are worth between 0 and w. At mid the bound breaks all the time because mids are
not prices anyone trades at: that is ``noise``. Broken at natural prices (it costs less than nothing to buy, or sells
for more than w) a quote is stale or there is an arbitrage: ``stale_or_arb``. Nothing is clamped; it is counted.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.models.quotes import MILLS_PER_DOLLAR, Floats
from pipeline.models.strategies import BOUNDED_KEYS, MISSING, Grids, Mills

MAX_LISTED = 50
KINDS = ("noise", "stale_or_arb")


@dataclass(frozen=True, slots=True)
class Violations:
    """``counts`` by kind, and the worst of them, at most MAX_LISTED."""

    counts: dict[str, int]
    worst: list[dict[str, object]]


def find_violations(grids: Grids, strikes: Floats, widths: Floats) -> Violations:
    """Count the tiles out of bounds and list the worst.

    The list has ``stale_or_arb`` before ``noise``, then the larger breach first, then the order of GRID_KEYS, strikes
    and widths, so that equal grids give equal lists. ``by`` is the breach in dollars.
    """
    # No natural price breaks a bound that mid keeps: it costs no less to buy than mid, and brings no more. So mid is
    # looked at alone, and as an unsigned number, where what is negative or MISSING is above every bound.
    stacked = grids.bounded()
    mids, plane = stacked[:, 0], strikes.size * widths.size
    bounds = _bound_of_each_tile(widths.astype(np.float64).tobytes(), strikes.size)
    where = np.flatnonzero((mids.view(np.uint32) > bounds.view(np.uint32)) & (mids != MISSING))
    tiles, cells = np.divmod(where, max(plane, 1))
    at_mid, buy, sell = (stacked.ravel().take((3 * tiles + pricing) * plane + cells) for pricing in range(3))
    width = bounds.take(cells)
    natural = np.maximum(-buy, sell - width)
    is_arbitrage = natural > 0
    breach = np.where(is_arbitrage, natural, np.maximum(-at_mid, at_mid - width))
    arbitrages = int(np.count_nonzero(is_arbitrage))
    counts = {"noise": where.size - arbitrages, "stale_or_arb": arbitrages}
    rank = breach + (is_arbitrage.astype(np.int64) << 32)
    if rank.size > MAX_LISTED:  # sorted are only those that may be listed
        least = np.partition(rank, rank.size - MAX_LISTED)[rank.size - MAX_LISTED]
        listed = np.flatnonzero(rank >= least)
    else:
        listed = np.arange(rank.size)
    order = listed[np.argsort(-rank[listed], kind="stable")][:MAX_LISTED]  # ties keep the order of the grids
    tiles, (rows, columns) = tiles[order], np.divmod(cells[order], max(widths.size, 1))
    worst: list[dict[str, object]] = [
        {
            "tile": BOUNDED_KEYS[tile],
            "strike": strike,
            "width": width,
            "kind": KINDS[int(arbitrary)],
            "by": amount / MILLS_PER_DOLLAR,
        }
        for tile, strike, width, arbitrary, amount in zip(
            tiles.tolist(),
            plain_numbers(strikes[rows]),
            plain_numbers(widths[columns]),
            is_arbitrage[order].tolist(),
            breach[order].tolist(),
            strict=True,
        )
    ]
    return Violations(counts, worst)


@lru_cache(maxsize=64)
def _bound_of_each_tile(widths: bytes, strikes: int) -> Mills:
    """The bound of every tile, int32[S, W]: numpy broadcasts along a short last axis at a quarter of the speed."""
    return np.tile(np.rint(np.frombuffer(widths) * MILLS_PER_DOLLAR).astype(np.int32), (strikes, 1))


def plain_number(value: float) -> int | float:
    """A strike or a width as JSON should show it: 7640, not 7640.0; rounded to thousandths."""
    return _plain(round(float(value) * MILLS_PER_DOLLAR))


def plain_numbers(values: Floats) -> list[int | float]:
    """plain_number of each."""
    return [_plain(mills) for mills in np.rint(values * MILLS_PER_DOLLAR).astype(np.int64).tolist()]


def _plain(mills: int) -> int | float:
    return mills // MILLS_PER_DOLLAR if mills % MILLS_PER_DOLLAR == 0 else mills / MILLS_PER_DOLLAR
