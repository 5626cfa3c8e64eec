"""models: every model of a 30,000-contract chain from arrays, beside one pass of a price-and-greeks kernel over it.

The kernel is what nobody can do without: one price and six greeks a contract. All else (implied volatility, tiles at
three prices, profiles on 61 spots, exposures, violations, levels, mode, intent, gravity) is told in passes of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from scipy.special import ndtr

from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.measure import Goal, Result, ratio, take_turns
from pipeline.models.expiry import NEW_YORK, expiry_ms, years_to
from pipeline.models.greeks import black76
from pipeline.models.pane import PaneGeometry, PaneValues
from pipeline.models.quotes import Floats
from pipeline.models.symbol import SymbolModels, symbol_models
from pipeline.settings import DEFAULT_WIDTHS
from pipeline.tiles import Tiles, compute

SPOT_USD, RATE, SIGMA = 6800.0, 0.037, 0.15
AS_OF_MS = int(datetime(2026, 8, 20, 11, 0, tzinfo=NEW_YORK).timestamp() * 1000)
FIRST_DAY = date(2026, 8, 20)
STRIKES, STEP_USD, PANES = 250, 5.0, 60
CONTRACTS = 2 * STRIKES * PANES
_INVERSE_SQRT_TAU = 1.0 / math.sqrt(2.0 * math.pi)

Pane = tuple[PaneGeometry, PaneValues]


def chain(panes: int = PANES, seed: int = 4) -> list[Pane]:
    """A chain of 500 contracts a pane, daily expirations, quoted a little off a smile, a tick or more wide."""
    rng = np.random.default_rng(seed)
    return [_pane(rng, FIRST_DAY + timedelta(days=day)) for day in range(panes)]


def _pane(rng: np.random.Generator, expiration: date) -> Pane:
    strikes = SPOT_USD + (np.arange(STRIKES, dtype=np.float64) - STRIKES // 2) * STEP_USD
    shape = (2, STRIKES)
    years = years_to(expiry_ms(expiration, "PM"), AS_OF_MS)
    discount = math.exp(-RATE * years)
    forward, v_atm = SPOT_USD / discount, SIGMA * math.sqrt(years)
    v = v_atm * np.exp(np.clip(-0.05 * np.log(strikes / forward) / v_atm, -0.5, 0.5))
    fair = np.stack([black76(sign, SPOT_USD, forward, strikes, v, years, discount).price for sign in (1.0, -1.0)])
    tick = np.where(fair < 3.0, 0.05, 0.10)
    half = tick * rng.integers(1, 4, shape) / 2.0
    bid, ask = np.maximum(np.floor((fair - half) / tick), 0.0) * tick, np.ceil((fair + half) / tick) * tick
    geometry = PaneGeometry(
        f"{expiration.isoformat()}:SPXW", expiration, "SPXW", "PM", strikes, np.ones(shape, dtype=np.bool_),
        np.full(shape, 100.0), np.array(DEFAULT_WIDTHS["SPX"]),
    )
    interest, volume = np.floor(rng.lognormal(5.0, 1.5, shape)), np.floor(rng.lognormal(3.0, 1.5, shape))
    nothing = np.full(shape, np.nan)
    return geometry, PaneValues(bid, ask, nothing, nothing, interest, volume, SPOT_USD, AS_OF_MS, RATE)


def every_model(panes: Sequence[Pane]) -> tuple[list[Tiles], SymbolModels]:
    """What calculate and models compute of a whole chain, without Redis and without JSON."""
    tiles = [compute(geometry, values) for geometry, values in panes]
    return tiles, symbol_models([one.exposure for one in tiles], SPOT_USD, AS_OF_MS)


@dataclass(frozen=True, slots=True)
class Columns:
    """A chain as the kernel takes it, float64[contracts] each; ``sign`` +1 calls, -1 puts."""

    sign: Floats
    strike: Floats
    years: Floats
    sigma: Floats


def columns(panes: Sequence[Pane], tiles: Sequence[Tiles]) -> Columns:
    """Every contract with the volatility that the models found for its strike."""
    years = [np.full(2 * g.strikes.size, years_to(expiry_ms(g.expiration, g.settlement), AS_OF_MS)) for g, _ in panes]
    return Columns(
        np.concatenate([np.repeat([1.0, -1.0], geometry.strikes.size) for geometry, _ in panes]),
        np.concatenate([np.tile(geometry.strikes, 2) for geometry, _ in panes]),
        np.concatenate(years),
        np.concatenate([np.tile(one.exposure.v, 2) for one in tiles]) / np.sqrt(np.concatenate(years)),
    )


def kernel(of: Columns, spot: float, rate: float) -> tuple[Floats, ...]:
    """Price, delta, gamma, vega, theta, vanna and charm of every contract, Black 1976; each product taken once."""
    root = np.sqrt(of.years)
    v = of.sigma * root
    discount = np.exp(-rate * of.years)
    forward = spot / discount
    d1 = np.log(forward / of.strike) / v + 0.5 * v
    d2 = d1 - v
    n1 = _INVERSE_SQRT_TAU * np.exp(-0.5 * d1 * d1)
    delta = of.sign * ndtr(of.sign * d1)
    bond = of.strike * discount * ndtr(of.sign * d2)
    price = spot * delta - of.sign * bond
    gamma = n1 / (spot * v)
    vega = spot * n1 * root
    theta = -vega * of.sigma / (2.0 * of.years) - of.sign * rate * bond
    vanna = -n1 * d2 / of.sigma
    charm = -n1 * (rate / (of.sigma * root) - d2 / (2.0 * of.years))
    return price, delta, gamma, vega, theta, vanna, charm


def run(bench: Bench) -> Result:
    panes = chain()
    tiles, _ = every_model(panes)
    of = columns(panes, tiles)
    taken = take_turns(
        bench.repeats,
        {
            "all_models": lambda: _ms_a_call(lambda: every_model(panes), bench.seconds),
            "kernel": lambda: _ms_a_call(lambda: kernel(of, SPOT_USD, RATE), bench.seconds / 4),
        },
        "ms",
    )
    return Result(
        "models", taken, {"vs_kernel": ratio(taken["all_models"], taken["kernel"])},
        pairs={"vs_kernel": ("all_models", "kernel")},
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
    "one pass of a price-and-greeks kernel (numpy, scipy's ndtr: price and six greeks) over the same contracts",
    {"vs_kernel": Goal(at_most=12.0)},
    run,
)
