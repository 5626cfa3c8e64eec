"""Gamma exposure: dollars of delta per 1 % move of the underlying, per contract, by strike and in total.

Values are whole dollars (int64), so that sums over strikes and panes are exact in any order.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.models.quotes import MILLS_PER_DOLLAR, Floats, Integers

Indices = NDArray[np.intp]

MISSING_USD = -(2**63)
"""Gamma, open interest or spot is unknown, or the contract does not exist."""

# A contract above this is not exposure but a broken claim; the bound keeps sums over a thousand panes inside a slot.
MAX_USD = 10**12

BUCKETS = (("0", 0, 0), ("1", 1, 1), ("2-5", 2, 5), ("6-30", 6, 30), ("31+", 31, 10**9))
"""Name, first and last day to expiration."""


def gex_usd_1pct(gamma: Floats, weight: Floats, multiplier: Floats, spot: Floats | float) -> Integers:
    """s * gamma * weight * multiplier * S^2 * 0.01 with s = +1 calls, -1 puts (sign model ``naive``).

    ``gamma`` float64[S] (shared by call and put) or [2, S]; ``weight`` (open interest, or volume for the volume book)
    float64[2, S], or of several books [..., 2, S]; ``multiplier`` float64[2, S]; ``spot`` dollars, or float64[S]; NaN
    anywhere gives MISSING_USD. Returns int64 in the shape of ``weight``.
    """
    sign = np.array([[1.0], [-1.0]])
    with np.errstate(all="ignore"):
        usd = sign * gamma * weight * multiplier * (spot * spot * 0.01)
    return whole_dollars(usd)


def whole_dollars(usd: Floats) -> Integers:
    """Rounded half to even, in the shape given; MISSING_USD for NaN and for what is beyond an exposure."""
    with np.errstate(all="ignore"):
        sound = np.abs(usd) < MAX_USD
    return np.where(sound, np.rint(np.where(sound, usd, 0.0)).astype(np.int64), MISSING_USD)


def union_of_strikes(panes: Sequence[Floats]) -> Floats:
    """All strikes of several panes, ascending, each once."""
    return located(np.concatenate(panes))[0] if panes else np.empty(0)


def located(strikes: Floats) -> tuple[Floats, Indices]:
    """The union of ``strikes`` (float64[N], of panes one after the other), and where in it each stands, intp[N]."""
    return _located(strikes.tobytes())


@lru_cache(maxsize=16)
def _located(strikes: bytes) -> tuple[Floats, Indices]:
    """Kept, because panes do not change within an epoch, and to sort 15,000 strikes takes 0.6 ms."""
    mills = np.rint(np.frombuffer(strikes) * MILLS_PER_DOLLAR).astype(np.int64)
    union, place = np.unique(mills, return_inverse=True)
    return union / MILLS_PER_DOLLAR, place


def net_by_strike(strikes: Floats, gex: Integers) -> Integers:
    """GEX per strike of the union of ``strikes`` (float64[N], of panes one after the other), int64[U]; ``gex``
    int64[sides, N], sides are added. MISSING_USD where no contract at the strike has a value.
    """
    union, at = located(strikes)
    present = gex != MISSING_USD
    net = np.zeros(union.size, dtype=np.int64)
    np.add.at(net, at, np.where(present, gex, 0).sum(axis=0))
    known = np.zeros(union.size, dtype=np.bool_)
    known[at[present.any(axis=0)]] = True
    return np.where(known, net, MISSING_USD)


def exposure(gex: Integers) -> dict[str, int | float | None]:
    """Sums of int64[2, N]: call, put, net, gross in dollars, and ratio = net / gross.

    All null when nothing has a value; ratio is null when gross is 0.
    """
    present = gex != MISSING_USD
    if not present.any():
        return {"call": None, "put": None, "net": None, "gross": None, "ratio": None}
    call, put = np.where(present, gex, 0).sum(axis=1).tolist()
    net, gross = call + put, call - put
    return {"call": call, "put": put, "net": net, "gross": gross, "ratio": round(net / gross, 6) if gross else None}


def summary(days: Integers, sums: Integers) -> dict[str, object]:
    """``totals`` and DTE ``buckets``, keys in a fixed order, of panes: ``days`` to expiration int64[P], and the sums of
    each pane's sides int64[2, P]."""
    return {"totals": exposure(sums), "buckets": buckets(days, sums)}


def buckets(days: Integers, sums: Integers) -> dict[str, dict[str, int | float | None]]:
    """``exposure`` of the panes within each of BUCKETS; arguments as of ``summary``."""
    return {name: exposure(sums[:, (first <= days) & (days <= last)]) for name, first, last in BUCKETS}
