"""The values of a pane as scripts hand them out, read into the arrays that models take."""

import math
from dataclasses import dataclass

import msgpack
import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.errors import NotYet
from pipeline.geometry import Pane
from pipeline.keys import Keys
from pipeline.models.pane import PaneValues
from pipeline.registers import REGISTERS
from pipeline.scripts import Call, Scripts

MINUTE_MS = 60_000
VALUES = 6
"""Numbers per contract: bid, ask, iv, gamma, open interest, volume."""
_NO_QUOTE, _NO_CHAIN, _NO_VOLUME = ([""] * len(REGISTERS[kind]) for kind in ("quotes", "chain", "volumes"))


CHUNK = 500
"""Contracts read in one call: about a millisecond of the server's time."""
_TRIES = 20


@dataclass(frozen=True, slots=True)
class PaneReading:
    """The values [6, 2, S] of a whole pane, complete but for what was marked since the claim of number ``claims``."""

    claims: int
    values: NDArray[np.float64]


def read_pane(scripts: Scripts, keys: Keys, epoch: str, pane: Pane) -> PaneReading:
    """Read a whole pane in bounded calls. A claim in between begins the reading again: it took marks away.

    Raises NotYet where that happens again and again: others are making progress.
    """
    tickers, name = list(pane.places), pane.geometry.pane
    calls = [
        Call("read_values", {"tiles": keys.tiles(epoch, name)},
             {"registers": keys.registers(epoch), "pane": name, "tickers": tickers[first : first + CHUNK]})
        for first in range(0, len(tickers), CHUNK)
    ]
    for _ in range(_TRIES):
        replies = scripts.run_all(calls)
        if len({claims for claims, _ in replies}) == 1:
            values = blank_values(pane)
            for _, packed in replies:
                take_values(pane, packed, values)
            return PaneReading(replies[0][0], values)
    raise NotYet(f"others claim {name} again and again", 0.01)


def blank_values(pane: Pane) -> NDArray[np.float64]:
    """Values [6, 2, S] of a pane nothing is known of."""
    return np.full((VALUES, 2, pane.geometry.strikes.size), np.nan)


def take_values(pane: Pane, packed: bytes, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Write what a script packed (tickers, quotes, chain registers, volumes) into ``values``; which contracts it named,
    bool[2, S]."""
    named = np.zeros(values.shape[1:], dtype=np.bool_)
    for ticker, quote, chain, volume in zip(*msgpack.unpackb(packed), strict=True):
        place = pane.places[ticker]
        _, _, bid, ask, _, _ = quote.split("|") if quote else _NO_QUOTE
        _, oi, iv, _, gamma, _, _ = chain.split("|") if chain else _NO_CHAIN
        _, traded = volume.split("|") if volume else _NO_VOLUME
        values[:, *place] = [float(number) if number else math.nan for number in (bid, ask, iv, gamma, oi, traded)]
        named[place] = True
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
