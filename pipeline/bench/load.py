"""Chains of any size, and frames of quotes with a real skew: what the stages are measured on."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import orjson

from pipeline.bench.models import SPOT_USD, STRIKES, chain
from pipeline.bench.near_chain import AS_OF_MS, Listed
from pipeline.contract import make_ticker
from pipeline.models.expiry import days_to_expiration
from pipeline.models.strategies import SIDES

MOVING = 0.1
"""The part of quotes that change a price; real option quotes change their sizes nine times of ten."""


def wide_chain(contracts: int, seed: int = 4) -> list[Listed]:
    """So many contracts around SPOT_USD, 500 a pane, daily expirations; the chain of ``models`` as it is listed."""
    listed = []
    for geometry, values in chain(math.ceil(contracts / (2 * STRIKES)), seed):
        days = days_to_expiration(geometry.expiration, AS_OF_MS)
        away = np.log(geometry.strikes / SPOT_USD) / (0.004 + 0.008 * math.sqrt(max(days, 0.02)))
        weight = np.exp(-away * away / 2) / (0.5 + days)
        for column, strike in enumerate(geometry.strikes.tolist()):
            for row, side in enumerate(SIDES):
                listed.append(Listed(
                    make_ticker("SPXW", geometry.expiration, side, strike), geometry.pane, side, strike,
                    bid=round(float(values.bid[row, column]), 2), ask=round(float(values.ask[row, column]), 2),
                    bid_size=10, ask_size=10, last=0.0, iv=0.0, delta=0.0, gamma=0.0, theta=0.0, vega=0.0,
                    open_interest=int(values.open_interest[row, column]), volume=int(values.volume[row, column]),
                    weight=float(weight[column]),
                ))
    return listed[:contracts]


def frame(quotes: Iterable[tuple[str, float, float]], number: int) -> bytes:
    """Quotes (ticker, bid, ask) as the provider's socket writes them; ``number`` rises, and time with it."""
    return orjson.dumps([
        {"ev": "Q", "sym": ticker, "bx": 302, "ax": 302, "bp": bid, "ap": ask, "bs": 3, "as": 4,
         "t": AS_OF_MS + number, "q": number, "c": 1}
        for ticker, bid, ask in quotes
    ])


def quote_frames(
    listed: Sequence[Listed], frames: int, per_frame: int = 50, seed: int = 5, first: int = 1
) -> list[bytes]:
    """Frames as the provider writes them; in MOVING of the quotes a price is a tick away from the last.

    Contracts are drawn by nearness to the money and the front, times their volume: of 8,000 the busiest hundred take
    39 % of the quotes, the busiest thousand 83 %. By volume alone real chains are steeper (64 to 74 %, 93 to 99 %), by
    its square root flatter (18 to 33 %, 53 to 90 %). ``first`` is the number of the first frame; times and sequences
    rise with it.
    """
    rng = np.random.default_rng(seed)
    weight = np.array([one.weight * max(one.volume, 1) for one in listed])
    drawn = rng.choice(len(listed), (frames, per_frame), p=weight / weight.sum())
    moves = rng.random((frames, per_frame)) < MOVING
    sizes = rng.integers(1, 200, (frames, per_frame, 2))
    raised = np.zeros(len(listed), dtype=np.bool_)
    made = []
    for number in range(frames):
        events: list[dict[str, object]] = []
        for at, moved, (bid_size, ask_size) in zip(
            drawn[number].tolist(), moves[number].tolist(), sizes[number].tolist(), strict=True
        ):
            raised[at] ^= moved
            one, by = listed[at], 0.05 if raised[at] else 0.0
            events.append({
                "ev": "Q", "sym": one.ticker, "bx": 302, "ax": 302, "bp": round(one.bid + by, 2),
                "ap": round(one.ask + by, 2), "bs": bid_size, "as": ask_size, "t": AS_OF_MS + first + number,
                "q": (first + number) * per_frame + len(events), "c": 1,
            })
        made.append(orjson.dumps(events))
    return made
