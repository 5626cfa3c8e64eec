"""models: every model of a 30,000-contract chain from arrays, beside one pass of a price-and-greeks kernel over it.

The kernel (pipeline.models.greeks.black76) is what nobody can do without: one price and six greeks a contract. All else
(implied volatility, tiles at three prices, profiles on 61 spots, exposures, violations, levels, mode, intent, gravity)
is told in passes of it. It runs over the chain as it is kept, pane by pane; ``kernel_flat`` is the same over arrays of
the whole chain in blocks that fit the cache, which is the least that it can take.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.measure import Goal, Result, ratio, take_turns
from pipeline.models.expiry import NEW_YORK, expiry_ms, years_to
from pipeline.models.exposure import SIGN
from pipeline.models.greeks import Greeks, black76
from pipeline.models.pane import PaneGeometry, PaneValues
from pipeline.models.quotes import Floats
from pipeline.models.symbol import SymbolModels, symbol_models
from pipeline.settings import DEFAULT_WIDTHS
from pipeline.tiles import Claimed, Tiles, compute

SPOT_USD, RATE, SIGMA = 6800.0, 0.037, 0.15
AS_OF_MS = int(datetime(2026, 8, 20, 11, 0, tzinfo=NEW_YORK).timestamp() * 1000)
FIRST_DAY = date(2026, 8, 20)
STRIKES, STEP_USD, PANES = 250, 5.0, 60
CONTRACTS = 2 * STRIKES * PANES
BLOCK = 2000

Pane = tuple[PaneGeometry, PaneValues]


def chain(panes: int = PANES, seed: int = 4) -> list[Pane]:
    """A chain of 500 contracts a pane, daily expirations, quoted a little off a smile, a tick or more wide."""
    rng = np.random.default_rng(seed)
    return [_pane(rng, FIRST_DAY + timedelta(days=day)) for day in range(panes)]


def _pane(rng: np.random.Generator, expiration: date) -> Pane:
    strikes = SPOT_USD + (np.arange(STRIKES, dtype=np.float64) - STRIKES // 2) * STEP_USD
    shape = (2, STRIKES)
    expires_ms = expiry_ms(expiration, "PM")
    years = years_to(expires_ms, AS_OF_MS)
    discount = math.exp(-RATE * years)
    forward, v_atm = SPOT_USD / discount, SIGMA * math.sqrt(years)
    v = v_atm * np.exp(np.clip(-0.05 * np.log(strikes / forward) / v_atm, -0.5, 0.5))
    fair = np.stack([black76(sign, SPOT_USD, forward, strikes, v, years, discount).price for sign in (1.0, -1.0)])
    tick = np.where(fair < 3.0, 0.05, 0.10)
    half = tick * rng.integers(1, 4, shape) / 2.0
    bid, ask = np.maximum(np.floor((fair - half) / tick), 0.0) * tick, np.ceil((fair + half) / tick) * tick
    geometry = PaneGeometry(
        f"{expiration.isoformat()}:SPXW", expiration, "SPXW", "PM", strikes, np.ones(shape, dtype=np.bool_),
        np.full(shape, 100.0), np.array(DEFAULT_WIDTHS["SPX"]), expires_ms,
    )
    interest, volume = np.floor(rng.lognormal(5.0, 1.5, shape)), np.floor(rng.lognormal(3.0, 1.5, shape))
    nothing = np.full(shape, np.nan)
    return geometry, PaneValues(bid, ask, nothing, nothing, interest, volume, SPOT_USD, AS_OF_MS, RATE)


def every_model(panes: Sequence[Pane]) -> tuple[list[Tiles], SymbolModels]:
    """What calculate and models compute of a whole chain, without Redis and without JSON."""
    tiles = compute([Claimed(geometry, values) for geometry, values in panes])
    return tiles, symbol_models([one.exposure for one in tiles], SPOT_USD, AS_OF_MS)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the kernel takes of contracts, in shapes that broadcast; ``sign`` +1 calls, -1 puts."""

    sign: Floats
    forward: Floats | float
    strike: Floats
    v: Floats
    years: Any
    discount: Any


def kernel_inputs(tiles: Sequence[Tiles]) -> list[Inputs]:
    """What black76 takes of each pane, with the volatility that the models found for each strike."""
    return [
        Inputs(SIGN, held.forward, held.strikes, held.v, years_to(held.expires_ms, AS_OF_MS), held.discount)
        for held in (one.exposure for one in tiles)
    ]


def flat(inputs: Sequence[Inputs]) -> list[Inputs]:
    """The same of every contract by itself, in blocks of BLOCK contracts."""
    columns = [
        np.concatenate([
            np.broadcast_to(np.asarray(getattr(pane, name), dtype=np.float64), (2, pane.strike.size)).ravel()
            for pane in inputs
        ])
        for name in ("sign", "forward", "strike", "v", "years", "discount")
    ]
    return [
        Inputs(*(column[first : first + BLOCK] for column in columns)) for first in range(0, columns[0].size, BLOCK)
    ]


def kernel(inputs: Sequence[Inputs]) -> list[Greeks]:
    """Price, delta, gamma, vega, theta, vanna and charm of every contract."""
    return [black76(of.sign, SPOT_USD, of.forward, of.strike, of.v, of.years, of.discount) for of in inputs]


def run(bench: Bench) -> Result:
    panes = chain()
    tiles, _ = every_model(panes)
    by_pane = kernel_inputs(tiles)
    blocks = flat(by_pane)
    figures = take_turns(
        bench.repeats,
        {
            "all_models": lambda: _ms_a_call(lambda: every_model(panes), bench.seconds),
            "kernel": lambda: _ms_a_call(lambda: kernel(by_pane), bench.seconds / 4),
            "kernel_flat": lambda: _ms_a_call(lambda: kernel(blocks), bench.seconds / 4),
        },
        "ms",
    )
    return Result(
        "models", figures,
        {
            "vs_kernel": ratio(figures["all_models"], figures["kernel"]),
            "vs_kernel_flat": ratio(figures["all_models"], figures["kernel_flat"]),
        },
        pairs={"vs_kernel": ("all_models", "kernel"), "vs_kernel_flat": ("all_models", "kernel_flat")},
    )


def _ms_a_call(call: Callable[[], object], seconds: float) -> float:
    """Mean of as many calls as fit into ``seconds``, at least one, after one that warms the caches."""
    call()
    calls, began = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        took_s = time.perf_counter() - began
        if took_s >= seconds:
            return took_s / calls * 1000.0


BENCHMARK = Benchmark(
    "models",
    f"every model of a chain of {CONTRACTS:,} contracts in {PANES} panes, from arrays, in one thread",
    "one pass of the price-and-greeks kernel (black76: price and six greeks) over the same chain",
    {"vs_kernel": Goal(at_most=12.0)},
    run,
)
