"""Liquidity Intent: what dealers would buy or sell to stay hedged if spot moved, and as time passes.

H(x) = -(D(x) - D(S)) S by full repricing, D the dealers' delta in shares under the naive sign model: positive means
that dealers buy. These are flows that the positions imply, not orders seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.exposure import PaneExposure
from pipeline.models.quotes import Floats, Integers

QUADRANTS = ("capped", "supported", "downside_acceleration", "upside_squeeze")
MS_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Intent:
    """Dollars that dealers buy: ``up`` if spot rises by half an expected move, ``down`` if it falls, ``charm`` by the
    passing of the next hour or of what is left.

    ``lfi`` 0 to 100 (50: as much long as short gamma around spot); ``bias`` -100 (all flows sell) to 100 (all buy).
    All None with a ``reason`` where unknown.
    """

    reason: str | None
    up: float | None = None
    down: float | None = None
    charm: float | None = None
    lfi: float | None = None
    bias: float | None = None
    quadrant: str | None = None


def hedge_flow(panes: Sequence[PaneExposure], spot: float, targets: Floats) -> Floats:
    """H(x) in dollars for each of ``targets`` (float64[n] dollars): float64[n], v frozen, forwards moving with spot.

    Calls and puts of a strike differ by a delta that spot does not move, so that what counts is calls less puts.
    """
    if not panes:
        return np.zeros(targets.size)
    strikes = np.concatenate([pane.strikes for pane in panes])
    v = np.concatenate([pane.v for pane in panes])
    shares = np.subtract(*np.concatenate([pane.shares for pane in panes], axis=1))
    sizes = [pane.strikes.size for pane in panes]
    forward = np.repeat([pane.forward for pane in panes], sizes)
    with np.errstate(all="ignore"):
        scale = np.repeat([np.float64(pane.discount) * pane.forward / pane.spot for pane in panes], sizes)
        held = (shares != 0.0) & (v > 0.0) & np.isfinite(scale)
        v, scale = v[held], shares[held] * scale[held]
        d1 = np.log(forward[held] / strikes[held]) / v + 0.5 * v
        here = ndtr(d1)
        moved = np.log(targets / spot)
        return np.array([-spot * float((scale * (ndtr(d1 + move / v) - here)).sum()) for move in moved])


def liquidity_intent(
    panes: Sequence[PaneExposure],
    spot: float,
    expected_move: float | None,
    ratio: float | None,
    reason: str | None,
    constants: Constants = CONSTANTS,
) -> Intent:
    """Flows, LFI = 50 (1 + tanh(ratio / ratio_scale)), bias = 100 sum of flows / sum of their sizes, and quadrant.

    ``panes`` in a fixed order; ``ratio`` from mode.weighed_ratio; ``reason`` why the levels are not sound, if they are
    not (the flip's ``low_coverage`` or ``flat``).
    """
    if expected_move is None or ratio is None or reason is not None:
        return Intent(reason or "flat")
    reach = constants.intent_moves * expected_move
    up, down = hedge_flow(panes, spot, np.array([spot + reach, max(spot - reach, spot * 1e-6)])).tolist()
    charm = float(sum(pane.charm_flow for pane in panes))
    size = abs(up) + abs(down) + abs(charm)
    lfi = 50.0 * (1.0 + math.tanh(ratio / constants.ratio_scale))
    bias = 100.0 * (up + down + charm) / size if size > 0.0 else 0.0
    return Intent(None, up, down, charm, lfi, bias, quadrant_of(lfi, bias, constants))


def quadrant_of(lfi: float, bias: float, constants: Constants = CONSTANTS) -> str:
    """``capped``, ``supported`` (LFI from 50), ``downside_acceleration``, ``upside_squeeze`` (below)."""
    return QUADRANTS[(0 if lfi >= constants.supported_from else 2) + (1 if bias >= 0.0 else 0)]


def trade_sign(price: Floats, bid: Floats, ask: Floats) -> NDArray[np.int8]:
    """The quote rule: +1 at or above the ask (a customer bought), -1 at or below the bid, 0 between and unquoted.

    Float64[n] each, in dollars, NaN for missing; int8[n].
    """
    quoted = (bid <= ask) & (ask > 0.0)
    bought, sold = quoted & (price >= ask), quoted & (price <= bid)
    # A locked quote (bid = ask) is both: it says nothing.
    return bought.astype(np.int8) - sold.astype(np.int8)


def flow_delta(
    ts: Integers, sign: NDArray[np.int8], size: Floats, delta: Floats, multiplier: Floats, spot: float
) -> tuple[Integers, Floats]:
    """-(sum of signed size * delta * multiplier * S) by second: what trades did to the dealers' delta, in dollars.

    ``ts`` int64[n] ms, ``sign`` from trade_sign, the rest float64[n]; trades in any order. Returns the seconds that
    have trades (int64[m] ms, ascending) and float64[m]. A trade without a delta or a size counts as nothing.
    """
    seconds, place = np.unique(ts // MS_PER_SECOND * MS_PER_SECOND, return_inverse=True)
    with np.errstate(all="ignore"):
        usd = np.nan_to_num(-sign * size * delta * multiplier * spot, posinf=0.0, neginf=0.0)
    # Whole cents, so that the order in which trades arrive cannot show in the sum.
    cents = np.zeros(seconds.size, dtype=np.int64)
    np.add.at(cents, place, np.rint(np.clip(usd, -1e13, 1e13) * 100.0).astype(np.int64))
    return seconds, cents / 100.0
