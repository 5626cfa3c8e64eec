"""Max pain: the strike at which a pane's open interest would settle for the least."""

from functools import lru_cache

import numpy as np

from pipeline.models.quotes import Floats

_KEPT = 512  # panes; open interest changes once a day, a pane is computed many times a second


def max_pain(strikes: Floats, contracts: Floats) -> float:
    """The strike K of ``strikes`` (float64[S], ascending) with the least payout; NaN without open interest.

    payout(K) = sum of calls * max(K - K_i, 0) + puts * max(K_i - K, 0) over ``contracts`` float64[2, S], 0 for none.
    Of equal payouts the lowest strike.
    """
    return _of(strikes.tobytes(), contracts.tobytes())


@lru_cache(maxsize=_KEPT)
def _of(strike_bytes: bytes, contract_bytes: bytes) -> float:
    strikes = np.frombuffer(strike_bytes)
    contracts = np.frombuffer(contract_bytes).reshape(2, strikes.size)
    if not contracts.sum() > 0.0:
        return float("nan")
    held = np.concatenate((contracts, contracts * strikes))
    below, puts_below, worth_below, puts_worth_below = held.cumsum(axis=1)
    _, puts, _, puts_worth = held.sum(axis=1)
    above, worth_above = puts - puts_below, puts_worth - puts_worth_below
    payout = strikes * below - worth_below + worth_above - strikes * above
    return float(strikes[np.argmin(payout)])
