"""Levels: flip, walls, expected move, and pin probabilities. Each is missing, with a reason, unless it is sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.gex import MISSING_USD, located
from pipeline.models.quotes import MILLS_PER_DOLLAR, Booleans, Floats, Integers
from pipeline.models.strategies import MISSING, Mills

FLIP_REASONS = ("low_coverage", "flat", "stale", "no_root", "unstable")
"""Why a flip has no value, in the order in which the reasons are tried."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Zero gamma. ``value`` is the sound root nearest spot in dollars; ``roots`` are all of them, ascending.

    ``nearest`` is the root nearest spot, sound or not; ``sign`` that of G at spot (+1 dealers long gamma, -1 short,
    0 neither).
    """

    value: float | None
    reason: str | None
    roots: tuple[float, ...]
    nearest: float | None
    sign: int


@dataclass(frozen=True, slots=True)
class Walls:
    """The strikes with the most call and put GEX: beyond spot, and anywhere. None where no strike has any."""

    call: float | None
    put: float | None
    call_anywhere: float | None
    put_anywhere: float | None


def find_flip(
    prices: Floats,
    net: Integers,
    gross: Integers,
    spot: float,
    expected_move: float | None,
    coverage: float | None,
    stale: bool = False,
    constants: Constants = CONSTANTS,
) -> Flip:
    """The flip of a profile: ``prices`` float64[61] ascending with spot in the middle, ``net`` and ``gross`` int64[61].

    ``coverage`` is the share of open interest within one expected move that has a volatility, None without any open
    interest there. A root is linear between the two points around it; a stretch of zeros is one root, its middle, and
    only where the sign differs on its two sides.
    """
    roots, slopes = _roots(prices, net)
    middle = int(np.sign(net[net.size // 2]))
    sign = middle or int(np.sign(net.sum()))
    greatest = int(gross.max())
    at = int(np.argmin(np.abs(roots - spot))) if roots.size else None
    nearest = None if at is None else float(roots[at])
    reason = None
    if expected_move is None or (coverage is not None and coverage < constants.least_coverage):
        reason = "low_coverage"
    elif np.abs(net).max() <= constants.flat_share * greatest:
        reason = "flat"
    elif stale:
        reason = "stale"
    elif at is None:
        reason = "no_root"
    elif abs(slopes[at]) * expected_move * constants.unstable_moves < constants.unstable_share * greatest:
        reason = "unstable"
    return Flip(nearest if reason is None else None, reason, tuple(roots.tolist()), nearest, sign)


def _roots(prices: Floats, net: Integers) -> tuple[Floats, Floats]:
    """Where the piecewise linear ``net`` changes its sign, and how steep it is there ($ per $ of spot)."""
    known = np.flatnonzero(net)
    signs = np.sign(net[known])
    changes = np.flatnonzero(signs[:-1] != signs[1:])
    left, right = known[changes], known[changes + 1]
    low, high = net[left].astype(np.float64), net[right].astype(np.float64)
    width = prices[right] - prices[left]
    # Between neighbours the line's zero; over a stretch of zeros its middle, none of them being more zero than others.
    crossing = np.where(
        right - left == 1, prices[left] + width * (low / (low - high)), 0.5 * (prices[left + 1] + prices[right - 1])
    )
    return crossing, (high - low) / width


def find_walls(strikes: Floats, by_side: Integers, spot: float) -> Walls:
    """Walls from GEX by strike over all panes: ``strikes`` float64[U] ascending, ``by_side`` int64[2, U].

    Of equal strikes the one nearer the spot.
    """
    calls, puts = by_side[0], -by_side[1]
    return Walls(
        call=_greatest(strikes, calls, strikes >= spot),
        # Reversed, so that the first of equals is the nearest to spot from below.
        put=_greatest(strikes[::-1], puts[::-1], strikes[::-1] <= spot),
        call_anywhere=_greatest(strikes, calls, np.ones(strikes.size, dtype=np.bool_)),
        put_anywhere=_greatest(strikes[::-1], puts[::-1], np.ones(strikes.size, dtype=np.bool_)),
    )


def _greatest(strikes: Floats, usd: Integers, allowed: Booleans) -> float | None:
    candidates = np.where(allowed, usd, 0)
    if candidates.size == 0 or candidates.max() <= 0:
        return None
    return float(strikes[np.argmax(candidates)])


def sum_by_strike(panes: Sequence[tuple[Floats, Integers]]) -> tuple[Floats, Integers]:
    """Sums over panes, each (strikes float64[S], dollars int64[2, S]): all their strikes, ascending, and int64[2, U].
    What is missing counts as nothing."""
    if not panes:
        return np.empty(0), np.empty((2, 0), dtype=np.int64)
    union, place = located(np.concatenate([strikes for strikes, _ in panes]))
    usd = np.concatenate([values for _, values in panes], axis=1)
    result = np.zeros((2, union.size), dtype=np.int64)
    for side in range(2):
        np.add.at(result[side], place, np.where(usd[side] != MISSING_USD, usd[side], 0))
    return union, result


def pin_probability(mids: Mills, widths: Floats, discount: float) -> Floats:
    """E[max(0, 1 - |S_T - K| / w)] under the risk-neutral measure: butterfly mid / (w * DF), exact for any model.

    ``mids`` int32[S, W], the ``mid`` grid of a butterfly; ``widths`` float64[W] dollars. float64[S, W], NaN where the
    tile is missing. Nothing is clamped: a mid that breaks its bound shows as a probability that does.
    """
    with np.errstate(all="ignore"):
        return np.where(mids == MISSING, np.nan, mids / (MILLS_PER_DOLLAR * widths * discount))
