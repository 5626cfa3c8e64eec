"""Quotes: which contracts are priced, at what, and why the others are not.

Prices become integer **mills** (thousandths of a dollar) here and nowhere else, rounding half to even. Everything a
tile sums is then an integer, so that no order of summation and no neighbour can change a bit of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.row import Row

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MILLS_PER_DOLLAR = 1000
# A butterfly sums up to twice a price on one side: beyond this a tile would not fit its 11 characters in a document.
MAX_PRICE_MILLS = 499_999_999

PRICED = 0
# Why a listed contract has no price, in the order in which the reasons are tried; codes are index + 1.
REASONS = ("out_of_range", "negative", "empty", "no_ask", "no_bid", "crossed")
UNLISTED = -1


@dataclass(frozen=True, slots=True)
class Quotes:
    """Quotes of a pane, or of a row of them; call and put.

    ``bid`` and ``ask`` are int64[2, S] mills, 0 where not priced; ``priced`` bool[2, S]; ``reason`` int8[2, S]:
    PRICED, a code of REASONS, or UNLISTED.
    """

    bid: Integers
    ask: Integers
    priced: Booleans
    reason: NDArray[np.int8]

    def cut(self, row: Row) -> list["Quotes"]:
        """Those of each pane, where these are of a row."""
        return list(map(Quotes, *(row.cut(of) for of in (self.bid, self.ask, self.priced, self.reason))))

    def mids(self) -> Floats:
        """Mid prices in dollars, float64[2, S], NaN where not priced."""
        return np.where(self.priced, (self.bid + self.ask) / (2.0 * MILLS_PER_DOLLAR), np.nan)

    def reasons(self) -> dict[str, int]:
        """How many listed contracts are missing for each reason; every reason is present, in a fixed order."""
        counts = np.bincount(self.reason[self.reason > PRICED], minlength=len(REASONS) + 1)
        return {reason: int(counts[code]) for code, reason in enumerate(REASONS, start=1)}


def to_mills(dollars: Floats) -> Integers:
    """Dollars to integer mills, half to even. What is NaN or beyond a price's range becomes 0: mask it."""
    fits = np.abs(dollars) <= MAX_PRICE_MILLS / MILLS_PER_DOLLAR
    mills: Integers = np.rint(np.where(fits, dollars, 0.0) * MILLS_PER_DOLLAR).astype(np.int64)
    return mills


def read_quotes(bid: Floats, ask: Floats, listed: Booleans) -> Quotes:
    """Decide which contracts are priced: 0 <= bid <= ask and ask > 0, in mills.

    ``bid`` and ``ask`` are float64[2, S] dollars with NaN for missing; ``listed`` bool[2, S] says which contracts
    exist. A bid that is missing is not a bid of zero: the contract is not priced. Never raises on values.
    """
    limit = MAX_PRICE_MILLS / MILLS_PER_DOLLAR
    bid_mills, ask_mills = to_mills(bid), to_mills(ask)
    tests = (
        (np.abs(bid) > limit) | (np.abs(ask) > limit),
        (bid_mills < 0) | (ask_mills < 0),
        (bid_mills == 0) & (ask_mills == 0),  # a NaN has become 0
        ask_mills == 0,
        np.isnan(bid),
        bid_mills > ask_mills,
    )
    reason = np.zeros(bid.shape, dtype=np.int8)
    for code in range(len(tests), 0, -1):  # the first reason that holds is written last
        reason[tests[code - 1]] = code
    reason[~listed] = UNLISTED
    priced = reason == PRICED
    return Quotes(np.where(priced, bid_mills, 0), np.where(priced, ask_mills, 0), priced, reason)
