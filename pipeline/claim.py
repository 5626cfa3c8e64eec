"""The values of a pane as scripts hand them out, read into the arrays that models take."""

from collections.abc import Sequence

import msgpack
import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.geometry import Pane
from pipeline.models.pane import PaneValues

MINUTE_MS = 60_000
VALUES = 6
"""Numbers per contract, in the scripts' order: bid, ask, iv, gamma, open interest, volume."""


def blank_values(pane: Pane) -> NDArray[np.float64]:
    """Values [6, 2, S] of a pane nothing is known of."""
    return np.full((VALUES, 2, pane.geometry.strikes.size), np.nan)


def take_values(pane: Pane, packed: bytes, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Write what a script packed (ticker, six values, ...) into ``values``; which contracts it named, bool[2, S]."""
    claimed: Sequence[str | bool] = msgpack.unpackb(packed)
    named = np.zeros(values.shape[1:], dtype=np.bool_)
    for first in range(0, len(claimed), VALUES + 1):
        row, column = pane.places[str(claimed[first])]
        numbers = claimed[first + 1 : first + 1 + VALUES]
        values[:, row, column] = [float(number) if number else np.nan for number in numbers]
        named[row, column] = True
    return named


def pane_values(values: NDArray[np.float64], spot: bytes, snapshot_ts: int, rate: float) -> PaneValues:
    """What a model is made from.

    Event time is the spot's, floored to the minute (the snapshot's where no spot is known): a spot that moves and a
    minute that turns mark every pane, so what was computed never rests on a time that nobody marked.
    """
    price, as_of_ms = np.nan, snapshot_ts
    if spot:
        parsed = orjson.loads(spot)
        price, as_of_ms = float(parsed["price"]), int(parsed["ts"])
    bid, ask, iv, gamma, open_interest, volume = values
    return PaneValues(bid, ask, iv, gamma, open_interest, volume, price, as_of_ms // MINUTE_MS * MINUTE_MS, rate)
