"""Quotes of a chain as the provider's frames carry them, piece after piece: time and prices go on where they were."""

from collections.abc import Sequence

import numpy as np
import orjson

from pipeline.bench.load import MOVING
from pipeline.bench.near_chain import AS_OF_MS, Listed

_TICK_USD = 0.05
_SPOT_PART = 0.0002
"""A second's move of an index with a volatility of a year of some 12 % is about so large a part of it."""


class Tape:
    """One market. What a contract was last quoted at is remembered, so that no piece begins with a jump of prices."""

    def __init__(self, listed: Sequence[Listed], spot: float, seed: int = 5) -> None:
        self._quoted = [one for one in listed if one.bid > 0.0]
        weight = np.array([one.weight * max(one.volume, 1) for one in self._quoted])  # as load.quote_frames draws them
        self._drawn_up_to = np.cumsum(weight / weight.sum())
        self._raised = [False] * len(self._quoted)
        self._rng = np.random.default_rng(seed)
        self._ts = AS_OF_MS
        self._sequence = 0
        self._spot = spot

    def frames(self, count: int, per_frame: int, every_ms: float) -> list[bytes]:
        """So many frames: contracts drawn by weight, MOVING of the quotes a tick away from their last, the rest at new
        sizes alone. Frames are ``every_ms`` apart in the provider's time."""
        rng, quoted, raised = self._rng, self._quoted, self._raised
        shape = count, per_frame
        drawn = np.searchsorted(self._drawn_up_to, rng.random(shape), side="right").clip(max=len(quoted) - 1)
        moves, sizes = rng.random(shape) < MOVING, rng.geometric(0.02, (*shape, 2))
        made = []
        for number in range(count):
            ts, events = self._ts + int(number * every_ms), []
            for at, moved, (bid_size, ask_size) in zip(
                drawn[number].tolist(), moves[number].tolist(), sizes[number].tolist(), strict=True
            ):
                raised[at] ^= moved
                one, by = quoted[at], _TICK_USD if raised[at] else 0.0
                self._sequence += 1
                events.append({
                    "ev": "Q", "sym": one.ticker, "bx": 302, "ax": 302, "bp": round(one.bid + by, 2),
                    "ap": round(one.ask + by, 2), "bs": bid_size, "as": ask_size, "t": ts, "q": self._sequence,
                })
            made.append(orjson.dumps(events))
        self._ts += int(count * every_ms)
        return made

    def spot(self, after_ms: float = 0.0) -> tuple[int, float]:
        """(ts, price): spot a second's move away from its last, ``after_ms`` after the last frame."""
        self._spot = round(self._spot * (1 + _SPOT_PART * float(self._rng.choice((-1.0, 1.0)))), 2)
        return self._ts + int(after_ms), self._spot
