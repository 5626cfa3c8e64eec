"""spot: index values to ``massive:spot:stream``, from the provider's socket, or by REST while the socket is silent.

Only indices: the spot of a stock comes with its chain. One process holds the provider's single connection to the
indices, the others stand by.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from walrus import Database

from pipeline.backlog import Appended
from pipeline.contract import INDEX_SYMBOLS, provider_symbol
from pipeline.life import Life
from pipeline.logs import Outage, get_log
from pipeline.provider.conversation import Pace
from pipeline.provider.errors import ProviderError, RefusedError, StoppedError
from pipeline.provider.frames import Frame, Received, read_value
from pipeline.provider.market import Value, index_values
from pipeline.provider.rest import Rest
from pipeline.relay import Relay
from pipeline.settings import Settings
from pipeline.spot import held_spot

REFUSED_S = 60.0  # until REST is asked again after it refused


class Spot:
    def __init__(
        self, settings: Settings, database: Database, life: Life, rest: Rest, *, pace: Pace | None = None
    ) -> None:
        self.relay = Relay("spot", "indices", settings, database, life, self._read, self._turn, pace=pace)
        self._settings = settings
        self._database = database
        self._life = life
        self._rest = rest
        self._symbols = {provider_symbol(s): s for s in settings.symbols if s in INDEX_SYMBOLS}
        self._outage = Outage(get_log(stage=life.stage, consumer=life.consumer), "spot by REST")
        self._lock = threading.Lock()  # the feed's thread and the stage's both write values
        self._last: dict[str, tuple[int, float]] = {}  # newest (ts, price) written of each symbol
        self._spoke_at: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="spot")
        self._asking: Future[list[Value]] | None = None
        self._ask_at = 0.0

    def run(self) -> None:
        try:
            self.relay.run()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- frames, on the feed's thread ---
    def _read(self, received: Received, frame: Frame) -> Iterable[Appended]:
        relay = self.relay
        relay.count("", "frames")
        relay.note("", "last_frame_ms", received.ts)
        if not frame.readable:
            relay.count("", "malformed_frames")
            return []
        entries = []
        for event in frame.events:
            value = read_value(event)
            symbol = self._symbols.get(value.ticker) if value is not None else None
            if value is None or symbol is None:
                strange = isinstance(event, dict) and (value is not None or event.get("ev") not in ("V", None))
                relay.count("", "other_events" if strange else "bad_values")
                continue
            self._spoke_at[symbol] = time.monotonic()
            relay.count(symbol, "events")
            with self._lock:
                if self._last.get(symbol) == (value.ts, value.price):
                    relay.count(symbol, "unchanged")
                    continue
                self._last[symbol] = max(self._last.get(symbol, (0, 0.0)), (value.ts, value.price))
            entries.append(self._entry(symbol, received.ts, value))
        return entries

    def _entry(self, symbol: str, received_ms: int, value: Value) -> Appended:
        fields: dict[str, str | bytes] = {"symbol": symbol, "ts": str(value.ts), "price": repr(value.price)}
        return Appended(self._life.keys.stream("spot", symbol), received_ms, fields)

    # --- REST while the socket is silent, on the stage's thread ---
    def _turn(self) -> None:
        if not self._symbols:
            return
        self.relay.want(frozenset(f"V.{ticker}" for ticker in self._symbols))
        if self._asking is not None and self._asking.done():
            asked, self._asking = self._asking, None
            self._answered(asked)
        now = time.monotonic()
        silent = [
            ticker for ticker, symbol in self._symbols.items()
            if now - self._spoke_at.get(symbol, float("-inf")) > self._settings.spot_poll_s
        ]
        if silent and self._asking is None and now >= self._ask_at:
            self._remember(silent)
            self._ask_at = now + self._settings.spot_poll_s
            self._asking = self._pool.submit(index_values, self._rest, silent, self._retried)

    def _remember(self, tickers: Sequence[str]) -> None:
        """What was written before this process began need not be written again."""
        for symbol in (self._symbols[ticker] for ticker in tickers):
            held = held_spot(self._database, self._life.keys, symbol) if symbol not in self._last else None
            if held is not None:
                with self._lock:
                    self._last.setdefault(symbol, (held.ts, held.price))

    def _retried(self, error: ProviderError) -> None:
        self._outage.broke(str(error))

    def _answered(self, asked: Future[list[Value]]) -> None:
        error = asked.exception()
        if isinstance(error, ProviderError):
            if not isinstance(error, StoppedError):
                self.relay.count("", "rest_failures")
                self._outage.broke(str(error))
            if isinstance(error, RefusedError):
                self._ask_at = time.monotonic() + REFUSED_S
            return
        if error is not None:
            raise error
        self._outage.healed()
        self.relay.count("", "rest_answers")
        now_ms = time.time_ns() // 1_000_000
        self.relay.backlog.put(entry for value in asked.result() for entry in self._newer(value, now_ms))

    def _newer(self, value: Value, now_ms: int) -> Iterable[Appended]:
        """A value of the snapshot is written unless it is known; it may be older than what the socket brought."""
        symbol = self._symbols.get(value.ticker)
        if symbol is None:
            return
        with self._lock:
            if (value.ts, value.price) <= self._last.get(symbol, (0, 0.0)):
                return
            self._last[symbol] = (value.ts, value.price)
        yield self._entry(symbol, now_ms, value)


def run(settings: Settings, database: Database, life: Life) -> None:
    with Rest(
        settings.rest_url, settings.api_key, timeout_s=settings.rest_timeout_s,
        requests_per_s=settings.rest_requests_per_s, stop=life.stop, connections=1,
    ) as rest:
        Spot(settings, database, life, rest).run()
