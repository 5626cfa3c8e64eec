"""A synthetic chain shaped on real ones: AM and PM roots, a skewed smile without arbitrage, lumpy open interest.

The smile is Gatheral and Jacquier's SSVI with phi = eta/sqrt(theta), free of butterfly arbitrage while
eta * (1 + |rho|) <= 2 ("Arbitrage-free SVI volatility surfaces", 2014, theorem 4.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.cboe import CboeChain
from pipeline.contract import make_ticker, settlement_of
from pipeline.simulator import black
from pipeline.simulator.clock import NEW_YORK, from_ns

_RHO, _ETA = -0.6, 0.9
_DAILY_WEEKDAYS = 10
_WEEKLY_DAYS = 45
_MONTHLY_DAYS = 190
# A ladder is rings of (fraction of spot, strike spacing in dollars), from the money outwards.
_Ladder = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """What makes one symbol's chain its own. ``spot`` in dollars, ``vol`` the annual at-the-money volatility."""

    spot: float
    vol: float
    am_root: str | None
    pm_root: str
    near: _Ladder
    middle: _Ladder
    far: _Ladder


PROFILES: dict[str, Profile] = {
    "SPX": Profile(
        6_800.0, 0.12, "SPX", "SPXW",
        near=((0.022, 5), (0.06, 25), (0.2, 100)),
        middle=((0.03, 10), (0.08, 25), (0.25, 100)),
        far=((0.06, 25), (0.12, 50), (0.4, 200)),
    ),
    "NDX": Profile(
        25_000.0, 0.16, "NDX", "NDXP",
        near=((0.01, 10), (0.025, 25), (0.05, 50), (0.2, 250)),
        middle=((0.025, 25), (0.06, 50), (0.25, 250)),
        far=((0.06, 50), (0.12, 100), (0.4, 500)),
    ),
    "SPY": Profile(680.0, 0.12, None, "SPY", near=((0.06, 1), (0.2, 5)), middle=((0.08, 1), (0.25, 5)),
                   far=((0.12, 5), (0.4, 20))),
    "QQQ": Profile(610.0, 0.16, None, "QQQ", near=((0.06, 1), (0.2, 5)), middle=((0.08, 1), (0.25, 5)),
                   far=((0.12, 5), (0.4, 20))),
}  # fmt: skip


def third_friday(day: date) -> date:
    """The monthly expiration of that day's month."""
    first = day.replace(day=1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


def expirations(today: date) -> list[tuple[date, bool]]:
    """(date, whether it is a monthly) from today on: dailies for two weeks, then weeklies, then monthlies."""
    days: dict[date, bool] = {}
    day, weekdays = today, 0
    while day <= today + timedelta(days=_MONTHLY_DAYS):
        monthly = day == third_friday(day)
        daily = day.weekday() < 5 and weekdays < _DAILY_WEEKDAYS
        weekly = day.weekday() == 4 and day <= today + timedelta(days=_WEEKLY_DAYS)
        if daily or weekly or monthly:
            days[day] = monthly
        weekdays += day.weekday() < 5
        day += timedelta(days=1)
    return sorted(days.items())


def _strikes(spot: float, ladder: _Ladder) -> list[float]:
    strikes: set[float] = set()
    inner = 0.0
    for reach, spacing in ladder:
        low, high = spot * (1 - reach), spot * (1 + reach)
        ring = np.arange(np.ceil(low / spacing), np.floor(high / spacing) + 1) * spacing
        strikes |= {float(k) for k in ring if abs(k / spot - 1) >= inner}
        inner = reach
    return sorted(strikes)


def _contracts(profile: Profile, spot: float, today: date) -> Iterator[tuple[str, date, float]]:
    for expiration, monthly in expirations(today):
        days = (expiration - today).days
        ladder = profile.near if days <= 14 else profile.middle if days <= _WEEKLY_DAYS else profile.far
        roots = [profile.pm_root]
        # A morning-settled contract stops trading the evening before, so none is listed on its own day.
        if monthly and profile.am_root is not None and days > 0:
            roots.append(profile.am_root)
        for root in roots:
            for strike in _strikes(spot, ladder):
                yield root, expiration, strike


def expiry_ns(root: str, expiration: date) -> int:
    """When a contract stops having time value: 09:30 (AM) or 16:00 (PM) New York, in ns."""
    hour, minute = (9, 30) if settlement_of(root) == "AM" else (16, 0)
    moment = datetime(expiration.year, expiration.month, expiration.day, hour, minute, tzinfo=NEW_YORK)
    return int(moment.timestamp()) * 1_000_000_000


def tick_sizes(price: black.Floats, index: bool) -> black.Floats:
    """Dollars: an index option quotes in 0.05 below 3 and 0.10 above, the others in cents."""
    return np.where(price < 3, 0.05, 0.10) if index else np.full_like(price, 0.01)


def _smile(profile: Profile, moneyness: black.Floats, term: black.Floats) -> black.Floats:
    at_money = profile.vol * (1 + 0.25 * (1 - np.exp(-term / 0.3)))
    z = np.clip(moneyness / (at_money * np.sqrt(term)), -12, 12)
    w = (1 + _RHO * _ETA * z + np.sqrt((_ETA * z + _RHO) ** 2 + 1 - _RHO**2)) / 2
    return np.asarray(at_money * np.sqrt(w))


def synthetic_chain(symbol: str, now_ns: int, seed: int, spot: float | None = None) -> CboeChain:
    """A chain of ``symbol`` as of a session time, in the columns of a recorded one. Raises ValueError for an unknown
    symbol. ``gamma`` NaN marks a contract the provider has no greeks for, ``delta`` NaN one without volatility too."""
    if symbol not in PROFILES:
        raise ValueError(f"no synthetic chain for {symbol!r}; known: {', '.join(PROFILES)}")
    profile = PROFILES[symbol]
    spot = profile.spot if spot is None else spot
    quote_time = from_ns(now_ns)
    listed = list(_contracts(profile, spot, quote_time.date()))
    rng = np.random.default_rng([seed, *symbol.encode()])

    root, expiration, strike_list = (list(column) for column in zip(*listed, strict=True))
    strike = np.repeat(np.array(strike_list, dtype=float), 2)
    call = np.tile([True, False], len(listed))
    seconds = np.repeat([(expiry_ns(r, e) - now_ns) / 1e9 for r, e in zip(root, expiration, strict=True)], 2)
    term = black.years(seconds)
    n = len(strike)
    iv = _smile(profile, np.log(strike / spot) - (black.RATE - black.DIVIDEND_YIELD) * term, term)
    fair = black.price(np.full(n, spot), strike, term, iv, call)
    z = np.log(strike / spot) / (profile.vol * np.sqrt(term))
    bid, ask = _quotes(fair, z, profile, rng)

    open_interest = _lumps(strike, z, call, profile, rng)
    turnover = rng.lognormal(-1.2, 0.8, n) / (0.3 + np.sqrt(np.maximum(seconds, 0) / 86_400) / 3)
    volume = np.floor(open_interest * turnover * np.exp(-(z**2) / 3))
    last = np.where(volume > 0, np.where(rng.random(n) < 0.5, np.maximum(bid, 0.05), ask), 0.0)
    delta, gamma, theta, vega = black.greeks(np.full(n, spot), strike, term, iv, call)
    deep = (np.abs(delta) > 0.985) | (ask <= 0.05)
    missing = deep | (rng.random(n) < 0.06)
    for column in (gamma, theta, vega):
        column[missing] = np.nan
    delta[missing & (rng.random(n) < 0.6)] = np.nan
    sizes = rng.integers(1, 400, (2, n)).astype(float)

    side = np.where(call, "call", "put")
    roots, dates = np.repeat(root, 2), np.repeat(np.array(expiration, dtype="datetime64[D]"), 2)
    tickers = [
        make_ticker(r, e, s, k)
        for (r, e, k) in listed
        for s in ("call", "put")
    ]  # fmt: skip
    return CboeChain(
        symbol=symbol,
        quote_time=quote_time,
        spot=spot,
        ticker=np.array(tickers),
        root=roots,
        expiration=dates,
        side=side,
        strike=strike,
        bid=bid,
        ask=ask,
        bid_size=np.where(bid > 0, sizes[0], 0.0),
        ask_size=np.where(ask > 0, sizes[1], 0.0),
        iv=iv,
        delta=delta,
        gamma=gamma,
        theta=theta,
        vega=vega,
        open_interest=open_interest,
        volume=volume,
        last=last,
        bad_rows=0,
    )


def _quotes(
    fair: black.Floats, z: black.Floats, profile: Profile, rng: np.random.Generator
) -> tuple[black.Floats, black.Floats]:
    tick = tick_sizes(fair, profile.am_root is not None)
    half = tick * 0.5 + fair * rng.uniform(0.0005, 0.003, len(fair))
    bid = np.floor(np.maximum(fair - half, 0) / tick + 1e-9) * tick
    ask = np.maximum(np.ceil((fair + half) / tick - 1e-9) * tick, tick)
    # Nobody bids for a contract far out of the money, and a few have nobody offering either.
    bid[(np.abs(z) > 4.5) & (fair < 0.5)] = 0.0
    unoffered = (np.abs(z) > 4.5) & (rng.random(len(fair)) < 0.02)
    ask[unoffered] = 0.0
    bid[unoffered & (fair < 0.5)] = 0.0
    return np.asarray(np.round(bid, 2), dtype=float), np.asarray(np.round(ask, 2), dtype=float)


def _lumps(
    strike: black.Floats, z: black.Floats, call: NDArray[np.bool_], profile: Profile, rng: np.random.Generator
) -> black.Floats:
    """Open interest: heaviest out of the money, at round strikes most of all, and zero here and there."""
    unit = profile.near[0][1]
    roundness = np.where(strike % (unit * 20) == 0, 7.0, np.where(strike % (unit * 5) == 0, 2.5, 1.0))
    outside = np.where(call, z, -z)
    level = 400.0 * roundness * np.exp(-((outside - 0.8) ** 2) / 6) * rng.lognormal(0.0, 0.9, len(strike))
    level[rng.random(len(strike)) < 0.04] = 0.0
    return np.floor(level)
