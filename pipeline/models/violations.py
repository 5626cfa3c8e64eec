"""Violations: tiles whose price breaks a bound that holds without any model.

A vertical and a butterfly of width w are worth between 0 and w. At mid the bound breaks all the time because mids are
not prices anyone trades at: that is ``noise``. Broken at natural prices (it costs less than nothing to buy, or sells
for more than w) a quote is stale or there is an arbitrage: ``stale_or_arb``. Nothing is clamped; it is counted.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.models.quotes import MILLS_PER_DOLLAR, Floats
from pipeline.models.strategies import GRID_KEYS, MISSING, Mills

MAX_LISTED = 50
KINDS = ("noise", "stale_or_arb")


@dataclass(frozen=True, slots=True)
class Violations:
    """``counts`` by kind, and the worst of them, at most MAX_LISTED."""

    counts: dict[str, int]
    worst: list[dict[str, object]]


def find_violations(grids: dict[str, Mills], strikes: Floats, widths: Floats) -> Violations:
    """Count the tiles out of bounds and list the worst.

    The list has ``stale_or_arb`` before ``noise``, then the larger breach first, then the order of GRID_KEYS, strikes
    and widths, so that equal grids give equal lists. ``by`` is the breach in dollars.
    """
    keys = [key for key in GRID_KEYS if not key.startswith("single")]
    stacked = np.stack([grids[key] for key in keys])  # [4, 3, S, W]
    mid, buy, sell = stacked[:, 0], stacked[:, 1], stacked[:, 2]
    # Written out for every strike: numpy broadcasts along a short last axis at a quarter of the speed.
    bound = np.broadcast_to(np.rint(widths * MILLS_PER_DOLLAR).astype(np.int32), mid.shape[1:]).copy()
    # MISSING wraps around in int32, hence the mask comes last.
    missing = mid == MISSING
    natural, at_mid = np.maximum(-buy, sell - bound), np.maximum(-mid, mid - bound)
    np.copyto(natural, 0, where=missing)
    np.copyto(at_mid, 0, where=missing)
    arbitrage = natural > 0
    noise = (at_mid > 0) & ~arbitrage
    counts = {"noise": int(np.count_nonzero(noise)), "stale_or_arb": int(np.count_nonzero(arbitrage))}
    where = np.flatnonzero(noise | arbitrage)
    is_arbitrage = arbitrage.ravel()[where]
    breach = np.where(is_arbitrage, natural.ravel()[where], at_mid.ravel()[where])
    order = np.lexsort((-breach, ~is_arbitrage))[:MAX_LISTED]  # stable: ties keep the order of the grids
    tiles, rows, columns = np.unravel_index(where[order], mid.shape)
    worst: list[dict[str, object]] = [
        {
            "tile": keys[tile],
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


def plain_number(value: float) -> int | float:
    """A strike or a width as JSON should show it: 7640, not 7640.0; rounded to thousandths."""
    return _plain(round(float(value) * MILLS_PER_DOLLAR))


def plain_numbers(values: Floats) -> list[int | float]:
    """plain_number of each."""
    return [_plain(mills) for mills in np.rint(values * MILLS_PER_DOLLAR).astype(np.int64).tolist()]


def _plain(mills: int) -> int | float:
    return mills // MILLS_PER_DOLLAR if mills % MILLS_PER_DOLLAR == 0 else mills / MILLS_PER_DOLLAR
