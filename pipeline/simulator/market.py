"""The market itself: every contract's quote, size, volume and trade, moved step by step from one seed."""

from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.cboe import CboeChain
from pipeline.contract import INDEX_SYMBOLS, provider_symbol
from pipeline.simulator import black
from pipeline.simulator.aggregate import Bar, Bars
from pipeline.simulator.clock import NS, from_ns, market_hours, to_ns
from pipeline.simulator.spot import RecordedPath, Walk
from pipeline.simulator.synthetic import expiry_ns, tick_sizes

Ints = NDArray[np.int64]

# One step of the market on the wall; frames go out at this pace.
STEP_NS = 25_000_000
# Of all option events: trades, and quotes that change a price. Real feeds are over 90 % size-only.
_TRADE_SHARE = 0.04
_REPRICE_SHARE = 0.07
_STEPS_PER_SPOT = 8
_STEPS_PER_WEIGHT = 40
# At most this many panes requote in one step, so that one step stays short whatever the rate.
_PANES_PER_STEP = 6
_EXCHANGES = np.array([300, 302, 303, 304, 308, 309, 312, 313, 315, 316, 318, 319, 322, 323, 325])
_CONDITIONS = (209, 232, 233, 236, 227)
# A walk needs a volatility before any chain is priced; near the money the chain's own would do no better.
_WALK_VOL = {"SPX": 0.12, "NDX": 0.16}


@dataclass(slots=True)
class Quotes:
    """Quote events in time order; one entry an event. Prices in dollars, ``t`` in ms of session time."""

    row: Ints
    bid: black.Floats
    ask: black.Floats
    bid_size: Ints
    ask_size: Ints
    exchange: Ints
    t: Ints
    q: Ints


@dataclass(slots=True)
class Trades:
    """Trade events in time order. ``condition`` -1 means that the event carries no conditions."""

    row: Ints
    price: black.Floats
    size: Ints
    exchange: Ints
    condition: Ints
    t: Ints
    q: Ints


@dataclass(slots=True)
class Step:
    """What happened in one step. Bars carry the contract's row or the symbol's number; values are (symbol, ms, $)."""

    quotes: Quotes | None = None
    trades: Trades | None = None
    seconds: list[tuple[int, Bar]] = field(default_factory=list)
    minutes: list[tuple[int, Bar]] = field(default_factory=list)
    values: list[tuple[int, int, float]] = field(default_factory=list)
    index_seconds: list[tuple[int, Bar]] = field(default_factory=list)
    index_minutes: list[tuple[int, Bar]] = field(default_factory=list)


@dataclass(slots=True)
class _Pane:
    rows: Ints
    weight: float
    spot: float


class Market:
    """All chains of a session as one table of contracts, in ticker order within a symbol.

    ``step`` is a function of the seed, the settings and how many steps went before, and of nothing else: not of the
    wall, of who is connected, or of which faults are on.
    """

    def __init__(
        self, chains: list[CboeChain], start_ns: int, step_ns: int, rate: float, seed: int, path: RecordedPath | None
    ) -> None:
        self.symbols = [chain.symbol for chain in chains]
        self.start_ns, self.step_ns = start_ns, step_ns
        self.time_ns = start_ns
        self.steps = 0
        self._per_step = rate * STEP_NS / NS
        self.still = rate == 0
        self._rng = np.random.default_rng([seed, 2])
        self._path = path
        self._walk = Walk([_WALK_VOL.get(symbol, 0.2) for symbol in self.symbols])

        orders = [np.argsort(chain.ticker, kind="stable") for chain in chains]

        def column(name: str) -> NDArray[np.generic]:
            return np.concatenate([getattr(c, name)[o] for c, o in zip(chains, orders, strict=True)])

        def figures(name: str) -> black.Floats:
            return np.array(column(name), dtype=float)

        self.ticker: list[str] = [str(t) for t in column("ticker")]
        self.row_of = {ticker: row for row, ticker in enumerate(self.ticker)}
        self.symbol = np.repeat(np.arange(len(chains)), [len(c) for c in chains])
        self.root: list[str] = [str(r) for r in column("root")]
        self.expiration = np.array(column("expiration"), dtype="datetime64[D]")
        self.expiration_text: list[str] = [str(e) for e in self.expiration]
        self.call = np.array(column("side") == "call")
        self.strike = figures("strike")
        self.iv = np.nan_to_num(figures("iv"))
        self.greeks = {name: figures(name) for name in ("delta", "gamma", "theta", "vega")}
        self.bid, self.ask = np.nan_to_num(figures("bid")), np.nan_to_num(figures("ask"))
        self.bid_size, self.ask_size = np.nan_to_num(figures("bid_size")), np.nan_to_num(figures("ask_size"))
        self.open_interest = np.nan_to_num(figures("open_interest"))
        self.volume = np.nan_to_num(figures("volume"))
        self.last = np.nan_to_num(figures("last"))
        n = len(self.ticker)
        self.index = np.array([s in INDEX_SYMBOLS for s in self.symbols])
        self.day_open, self.day_high, self.day_low = self.last.copy(), self.last.copy(), self.last.copy()
        self.previous_close = self.last.copy()
        self.worth = self.last * self.volume
        self.last_size = np.ones(n)
        self.traded = self.volume > 0
        # Times before the session, so that a still market has old, unmoving times.
        age = np.random.default_rng([seed, 3]).integers(1_000_000, 20 * NS, (2, n))
        self.quote_ns = start_ns - age[0]
        self.trade_ns = start_ns - age[1] * 20
        self._q = 1_000_000

        self.spot = np.array([chain.spot for chain in chains], dtype=float)
        self.spot_open = self.spot.copy()
        self.spot_high, self.spot_low = self.spot.copy(), self.spot.copy()
        self.spot_ns = np.full(len(chains), start_ns)
        self.chain_spot = self.spot.copy()
        self._path_base = self.spot.copy()
        # Rounding each step's value to cents would swallow a slow walk's small moves.
        self._exact = self.spot.copy()

        quote_ns = np.array([to_ns(chain.quote_time) for chain in chains])
        self._anchor_ns = quote_ns[self.symbol]
        expiries = {
            (r, e): expiry_ns(r, date.fromisoformat(e))
            for r, e in set(zip(self.root, self.expiration_text, strict=True))
        }
        self.expiry_ns = np.array([expiries[key] for key in zip(self.root, self.expiration_text, strict=True)])
        self._half = (self.ask - self.bid) / 2
        rows = np.arange(n)
        self._anchor = (self.bid + self.ask) / 2 - self._fair(rows, start_ns=0)
        self._panes = self._make_panes()
        self._credit = 0.0
        self._most_credit = 2.0 * max(len(pane.rows) for pane in self._panes)
        self._cumulative = self._weights()
        self._bars, self._minute_bars = Bars(1_000), Bars(60_000)
        self._index_bars, self._index_minutes = Bars(1_000), Bars(60_000)
        self._open_today = market_hours(from_ns(start_ns)).market == "open"
        self._settle(quote_ns)

    def _settle(self, quote_ns: Ints) -> None:
        """Bring a chain recorded at another spot or an earlier time to the session's start, before anyone looks."""
        if self._path is not None and self._path.covers:
            self._path_base = self.spot * self._path.start / self.spot[0]
            self.spot = np.round(self._path_base, 2)
            self.spot_open, self.spot_high, self.spot_low = self.spot.copy(), self.spot.copy(), self.spot.copy()
        moved = (self.spot != self.chain_spot) | (quote_ns < self.start_ns)
        if not moved.any():
            return
        rows = np.flatnonzero(moved[self.symbol])
        self.bid[rows], self.ask[rows] = self._requote(rows)
        for pane in self._panes:
            pane.spot = float(self.spot[self.symbol[pane.rows[0]]])

    def _make_panes(self) -> list[_Pane]:
        groups: dict[tuple[int, str, str], list[int]] = {}
        for row, key in enumerate(zip(self.symbol.tolist(), self.expiration_text, self.root, strict=True)):
            groups.setdefault(key, []).append(row)
        panes = []
        for members in groups.values():
            rows = np.array(members)
            days = max((self.expiry_ns[rows[0]] - self.start_ns) / 86_400 / NS, 0)
            panes.append(_Pane(rows, 1 / np.sqrt(1 + days), float(self.spot[self.symbol[rows[0]]])))
        return panes

    def _term(self, rows: Ints, now_ns: int) -> black.Floats:
        # Never longer than when the chain was recorded: a session started before that would gain time value.
        at = np.maximum(self._anchor_ns[rows], now_ns)
        return black.years((self.expiry_ns[rows] - at) / NS)

    def _fair(self, rows: Ints, start_ns: int) -> black.Floats:
        return black.price(
            self.spot[self.symbol[rows]], self.strike[rows], self._term(rows, start_ns), self.iv[rows], self.call[rows]
        )

    def _requote(self, rows: Ints) -> tuple[black.Floats, black.Floats]:
        """Quotes now, around the recorded mid moved by as much as the contract's value has moved."""
        mid = np.maximum(self._fair(rows, self.time_ns) + self._anchor[rows], 0.0)
        tick = np.where(self.index[self.symbol[rows]], tick_sizes(mid, index=True), tick_sizes(mid, index=False))
        bid = np.floor((mid - self._half[rows]) / tick + 1e-6) * tick
        ask = np.maximum(np.ceil((mid + self._half[rows]) / tick - 1e-6) * tick, tick)
        bid = np.where((self.bid[rows] <= 0) & (mid < 3 * tick), 0.0, np.maximum(bid, 0.0))
        ask = np.where(self.ask[rows] <= 0, 0.0, np.maximum(ask, bid))
        return np.asarray(np.round(bid, 2), dtype=float), np.asarray(np.round(ask, 2), dtype=float)

    def current_greeks(self, rows: Ints) -> tuple[black.Floats, black.Floats, black.Floats, black.Floats]:
        """delta, gamma, theta, vega. As recorded while spot has not moved, computed after; NaN where the provider has
        none."""
        recorded = tuple(self.greeks[name][rows] for name in ("delta", "gamma", "theta", "vega"))
        moved = (self.spot != self.chain_spot)[self.symbol[rows]]
        if not moved.any():
            return recorded[0], recorded[1], recorded[2], recorded[3]
        vol = np.maximum(self.iv[rows], 1e-4)
        term = self._term(rows, self.time_ns)
        now = black.greeks(self.spot[self.symbol[rows]], self.strike[rows], term, vol, self.call[rows])
        d, g, t, v = (np.where(moved & ~np.isnan(old), new, old) for old, new in zip(recorded, now, strict=True))
        return d, g, t, v

    def _weights(self) -> black.Floats:
        """Cumulative weights of where events fall: towards the money and the near expirations."""
        days = np.maximum((self.expiry_ns - self.time_ns) / 86_400 / NS, 0.02)
        distance = np.log(self.strike / self.spot[self.symbol]) / (0.004 + 0.008 * np.sqrt(days))
        weight = np.exp(-(distance**2) / 2) / (0.5 + days) + 2e-5
        weight[(self.ask <= 0) & (self.bid <= 0)] = 0.0
        weight[self.expiry_ns <= self.time_ns] = 0.0
        return np.cumsum(weight)

    def _draw(self, n: int) -> Ints:
        return np.asarray(np.searchsorted(self._cumulative, self._rng.random(n) * self._cumulative[-1], side="right"))

    def step(self) -> Step:
        """Move the market by one step of session time and say what happened."""
        self.steps += 1
        self.time_ns = self.start_ns + self.steps * self.step_ns
        step = Step()
        if self.still:
            return step
        hours = market_hours(from_ns(self.time_ns))
        if hours.market == "closed" or hours.early:
            self._open_today = False
            return step
        if hours.market == "open" and not self._open_today:
            self._open()
        self._move_spot(step)
        if self.steps % _STEPS_PER_WEIGHT == 0:
            self._cumulative = self._weights()
        if self._cumulative[-1] > 0:
            self._trade_options(step)
        now_ms = self.time_ns // 1_000_000
        step.seconds, step.minutes = self._bars.take(now_ms), self._minute_bars.take(now_ms)
        step.index_seconds, step.index_minutes = self._index_bars.take(now_ms), self._index_minutes.take(now_ms)
        return step

    def _open(self) -> None:
        """The first moment of a regular session: the day's figures begin anew."""
        self._open_today = True
        self.previous_close = self.last.copy()
        self.volume[:] = 0
        self.worth[:] = 0
        self.spot_open, self.spot_high, self.spot_low = self.spot.copy(), self.spot.copy(), self.spot.copy()

    def _move_spot(self, step: Step) -> None:
        if self._path is not None:
            moved = self._path_base * self._path.at(self.time_ns) / self._path.start
        else:
            moved = self._exact = self._walk.move(self._exact, self.step_ns, self._rng)
        moved = np.round(moved, 2)
        self._note_spot(moved)
        now_ms = self.time_ns // 1_000_000
        for number, value in enumerate(moved.tolist()):
            for bars in (self._index_bars, self._index_minutes):
                bars.add(number, now_ms - 1, value).open_today = float(self.spot_open[number])
            if self.steps % _STEPS_PER_SPOT == 0:
                step.values.append((number, now_ms, value))

    def _note_spot(self, spot: black.Floats) -> None:
        self.spot_ns = np.where(spot != self.spot, self.time_ns, self.spot_ns)
        self.spot = spot
        self.spot_high, self.spot_low = np.maximum(self.spot_high, spot), np.minimum(self.spot_low, spot)

    def place_spot(self, symbol: str, value: float) -> tuple[int, int, float]:
        """Move one underlying by hand; quotes follow only as the market trades. Returns the value as an event."""
        number = self.symbols.index(symbol)
        spot = self.spot.copy()
        self._path_base[number] *= value / spot[number]
        spot[number] = value
        self._exact[number] = value
        self._note_spot(spot)
        return number, self.time_ns // 1_000_000, value

    def _trade_options(self, step: Step) -> None:
        total = int(self._rng.poisson(self._per_step))
        trades = int(self._rng.binomial(total, _TRADE_SHARE))
        quoted = total - trades
        self._credit = min(self._credit + quoted * _REPRICE_SHARE, self._most_credit)
        size_only = self._draw(quoted - int(self._rng.binomial(quoted, _REPRICE_SHARE)))
        size_bid, size_ask = self.bid[size_only], self.ask[size_only]
        moved, new_bid, new_ask = self._reprice()
        traded = self._draw(trades)
        traded = traded[(self.ask[traded] > 0) & (self.expiry_ns[traded] > self.time_ns)]

        rows = np.concatenate([size_only, moved])
        n, m = len(rows), len(rows) + len(traded)
        begin_ms, end_ms = (self.time_ns - self.step_ns) // 1_000_000, self.time_ns // 1_000_000
        t = np.sort(self._rng.integers(begin_ms, max(end_ms, begin_ms + 1), m))
        q = self._q + np.cumsum(self._rng.integers(1, 9, m))
        self._q = int(q[-1]) if m else self._q
        if n:
            self._quote(
                step, rows, np.concatenate([size_bid, new_bid]), np.concatenate([size_ask, new_ask]), t[:n], q[:n]
            )
        if m > n:
            self._trade(step, traded, t[n:], q[n:])

    def _reprice(self) -> tuple[Ints, black.Floats, black.Floats]:
        """Requote whole panes, the most out of date first, as far as the credit goes: half a pane requoted would show
        butterflies no market maker ever quoted."""
        found: list[tuple[Ints, black.Floats, black.Floats]] = []
        for _ in range(_PANES_PER_STEP):
            pane = max(self._panes, key=lambda p: p.weight * abs(self.spot[self.symbol[p.rows[0]]] / p.spot - 1))
            spot = float(self.spot[self.symbol[pane.rows[0]]])
            if abs(spot / pane.spot - 1) < 1e-6:
                break
            live = pane.rows if self.expiry_ns[pane.rows[0]] > self.time_ns else pane.rows[:0]
            bid, ask = self._requote(live)
            changed = (bid != self.bid[live]) | (ask != self.ask[live])
            cost = int(changed.sum())
            if cost > self._credit:
                break
            self._credit -= cost
            pane.spot = spot
            rows, bid, ask = live[changed], bid[changed], ask[changed]
            self.bid[rows], self.ask[rows] = bid, ask
            found.append((rows, bid, ask))
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
        rows, bids, asks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, bids, asks

    def _quote(self, step: Step, rows: Ints, bid: black.Floats, ask: black.Floats, t: Ints, q: Ints) -> None:
        sizes = self._rng.geometric(0.02, (2, len(rows)))
        bid_size, ask_size = np.where(bid > 0, sizes[0], 0), np.where(ask > 0, sizes[1], 0)
        exchange = _EXCHANGES[self._rng.integers(0, len(_EXCHANGES), len(rows))]
        self.bid_size[rows], self.ask_size[rows] = bid_size, ask_size
        self.quote_ns[rows] = t * 1_000_000
        step.quotes = Quotes(rows, bid, ask, bid_size, ask_size, exchange, t, q)

    def _trade(self, step: Step, rows: Ints, t: Ints, q: Ints) -> None:
        n = len(rows)
        lifted = (self._rng.random(n) < 0.5) | (self.bid[rows] <= 0)
        price = np.where(lifted, self.ask[rows], self.bid[rows])
        size = self._rng.geometric(0.25, n)
        exchange = _EXCHANGES[self._rng.integers(0, len(_EXCHANGES), n)]
        condition = np.array(_CONDITIONS)[self._rng.integers(0, len(_CONDITIONS), n)]
        condition[self._rng.random(n) < 0.05] = -1
        for row, at, p, s in zip(rows.tolist(), t.tolist(), price.tolist(), size.tolist(), strict=True):
            if not self.traded[row] or self.volume[row] == 0:
                self.day_open[row] = self.day_high[row] = self.day_low[row] = p
            self.day_high[row], self.day_low[row] = max(self.day_high[row], p), min(self.day_low[row], p)
            self.volume[row] += s
            self.worth[row] += s * p
            for bars in (self._bars, self._minute_bars):
                bar = bars.add(row, at, p, s)
                bar.volume_today, bar.open_today = int(self.volume[row]), float(self.day_open[row])
                bar.vwap_today = float(self.worth[row] / self.volume[row])
        self.traded[rows] = True
        self.last[rows], self.last_size[rows] = price, size
        self.trade_ns[rows] = t * 1_000_000
        step.trades = Trades(rows, price, size, exchange, condition, t, q)

    def index_ticker(self, number: int) -> str:
        """How the provider spells an underlying: ``I:SPX``, ``SPY``."""
        return provider_symbol(self.symbols[number])
