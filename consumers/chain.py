"""chain: fetch jobs in, complete chains out. All pages of a chain or nothing.

Reads ``massive:chain:jobs``. Writes the rows as received to ``massive:chain:snapshot:{symbol}:{expiration}:{ts}``;
then ``finish_chain`` announces the chain in ``massive:chain:stream``, plans the next fetch and acknowledges the job, in
one call. A failed fetch finishes its job without a chain, and the next one waits longer.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta

import orjson
from redis.exceptions import RedisError
from walrus import Database

from pipeline import metrics
from pipeline.contract import INDEX_SYMBOLS, provider_symbol
from pipeline.entry import Entry, FieldError
from pipeline.errors import Gone, NotYet, Poison
from pipeline.geometry import RECENTRE_PART, new_york_day
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.logs import Outage, get_log
from pipeline.provider.chain import Chain, Scope, fetch_chain, peek_spot
from pipeline.provider.errors import BusyError, FaultyError, ProviderError, RefusedError, StoppedError
from pipeline.provider.market import Moment, Value, index_values, market_now
from pipeline.provider.rest import OnRetry, Rest
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.spot import held_spot

SNAPSHOT_TTL_S = 300
"""Rows stay at least so long, and for as long as the entry that names them."""
SNAPSHOT_SPARE_S = 60
WIDER = 1.5  # strikes are fetched this much wider than they are needed, so that spot may move before the next chain
BACKOFF_S = (2.0, 60.0)  # after the first failed fetch of a symbol, and at most
FETCH_MOST_S = 60.0  # a chain that takes longer is given up; the keeper takes a job of two minutes for lost
RENEW_S = 10.0  # a job under way is renewed this often: well below reclaim_idle_ms
KEPT_S = 60.0  # a chain that could not be announced, with Redis away, is announced later unless it is older than this
LATENCY_WINDOW_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Job:
    entry: Entry
    symbol: str
    reason: str
    force: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole chain. ``began`` is the market's time when its fetch began."""

    chain: Chain
    began: Moment
    spot: Value | None
    latency_ms: int


class ChainStage:
    name = "chain"
    reclaim_idle_ms = 60_000

    def __init__(
        self, settings: Settings, database: Database, keys: Keys, rest: Rest, stop: threading.Event,
        progress: Callable[[], None] = lambda: None, unready: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.keys = keys
        self.scripts = Scripts(database)
        self._settings = settings
        self._database = database
        self._rest = rest
        self._stop = stop
        self._progress = progress
        self._unready = unready
        self._log = get_log(stage=self.name)
        self._outages: dict[str, Outage] = {}
        self._own_clock = False  # the provider refuses to tell its time
        self._pool = ThreadPoolExecutor(settings.rest_concurrency, thread_name_prefix="fetch")
        self._fetches: dict[str, tuple[float, Future[Fetched]]] = {}  # by the job that carries the chain

    def streams(self) -> list[str]:
        return self.keys.streams("chain_jobs", self._settings.symbols)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- jobs ---
    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        if self._stop.is_set():
            raise NotYet("stopping", 0.0)
        jobs = _read_jobs(entries)
        owned = self._renew(jobs, consumer)
        if len(owned) < len(jobs):
            raise Gone(owned)
        by_symbol: dict[str, list[Job]] = {}
        for job in jobs:
            by_symbol.setdefault(job.symbol, []).append(job)
        running: dict[Future[Fetched], list[Job]] = {}
        for symbol, same in by_symbol.items():
            # One fetch serves all jobs of a symbol. It is announced by one that forces an epoch, if there is one,
            # and that job is finished first: dying in between costs a needless fetch, never a chain.
            same.sort(key=lambda job: not job.force)
            running[self._start(symbol, same[0].entry.id)] = same
        renew_at = time.monotonic() + RENEW_S
        while running:
            if self._stop.is_set():
                raise NotYet("stopping", 0.0)
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            self._progress()
            for future in done:
                self._finish(running.pop(future), future, consumer)
            if running and time.monotonic() >= renew_at:
                renew_at = time.monotonic() + RENEW_S
                self._renew([job for same in running.values() for job in same], consumer)

    def _start(self, symbol: str, carrier: str) -> Future[Fetched]:
        """The fetch of a job: the one already made or under way, if Redis failed before it could be announced."""
        now = time.monotonic()
        self._fetches = {
            entry: (at, future) for entry, (at, future) in self._fetches.items()
            if not future.done() or now - at < KEPT_S
        }
        if carrier not in self._fetches:
            self._fetches[carrier] = now, self._pool.submit(self._fetch, symbol)
        return self._fetches[carrier][1]

    def _renew(self, jobs: Sequence[Job], consumer: str) -> frozenset[str]:
        if not jobs:
            return frozenset()
        owned = self.scripts.run(
            "renew", {"stream": jobs[0].entry.stream},
            {"group": self.name, "consumer": consumer, "entries": [job.entry.id for job in jobs]},
        )
        return frozenset(entry.decode() for entry in owned)

    def _finish(self, jobs: list[Job], future: Future[Fetched], consumer: str) -> None:
        """Announce what a fetch brought, or that it brought nothing, and finish its jobs."""
        symbol, carrier = jobs[0].symbol, jobs[0].entry.id
        error = future.exception()
        if error is not None:
            self._fetches.pop(carrier, None)
            if isinstance(error, StoppedError):
                raise NotYet("stopping", 0.0)
            self._failed(jobs, error, consumer)
            return
        fetched = future.result()
        for expiration in fetched.chain.rows:
            self._database.set(
                self.keys.chain_snapshot(symbol, expiration, fetched.began.ts), fetched.chain.snapshot(expiration),
                ex=max(SNAPSHOT_TTL_S, int(self._settings.retention_s) + SNAPSHOT_SPARE_S),
            )
        due_ms = int((time.time() + self._settings.chain_interval_s) * 1000)
        announced = self._close(jobs[0], due_ms, _chain_entry(jobs[0], fetched), consumer)
        for job in jobs[1:]:
            self._close(job, due_ms, [], consumer)
        self._fetches.pop(carrier, None)
        if announced:
            self._count_chain(symbol, fetched)
        self._unready("")
        self._outage(symbol).healed(contracts=fetched.chain.contracts)

    def _failed(self, jobs: list[Job], error: BaseException, consumer: str) -> None:
        symbol = jobs[0].symbol
        known = isinstance(error, ProviderError)
        why = str(error) if known else f"{type(error).__name__}: {error}"
        kind = type(error).__name__.removesuffix("Error").lower() if known else "unexpected"
        in_a_row = self._count_failure(symbol, kind, why)
        wait_s = _backoff_s(error, in_a_row)
        due_ms = int((time.time() + wait_s) * 1000)
        for job in jobs:
            self._close(job, due_ms, [], consumer, owed=job.force)
        if isinstance(error, RefusedError):
            self._unready(f"provider refuses: {error.status}")
        self._outage(symbol).broke(why, symbol=symbol, next_in_s=round(wait_s, 1))

    def _close(
        self, job: Job, due_ms: int, fields: list[str | bytes], consumer: str, *, owed: bool = False
    ) -> bool:
        keys, symbol = self.keys, job.symbol
        return bool(
            self.scripts.run(
                "finish_chain",
                {
                    "jobs": job.entry.stream, "chains": keys.stream("chain", symbol),
                    "schedule": keys.chain_schedule(symbol), "job": keys.chain_job(symbol),
                },
                {
                    "group": self.name, "consumer": consumer, "entry": job.entry.id, "symbol": symbol,
                    "due_ms": due_ms, "fields": fields, "owed": int(owed),
                },
            )
        )

    def _outage(self, symbol: str) -> Outage:
        return self._outages.setdefault(symbol, Outage(self._log, f"chain {symbol}"))

    # --- fetching, in a thread of its own ---
    def _fetch(self, symbol: str) -> Fetched:
        """Raises ProviderError."""
        started = time.monotonic()
        outage = self._outage(symbol)

        def on_retry(error: ProviderError) -> None:
            outage.broke(str(error), symbol=symbol)

        underlying = provider_symbol(symbol)
        began = self._market_now(on_retry)
        held = self._held_spot(symbol) if self._settings.scope == "near" else None
        asked = held or self._asked_spot(symbol, on_retry)
        chain = fetch_chain(self._rest, underlying, self._scope(began.ts, asked), on_retry, FETCH_MOST_S)
        if held is not None and self._misses(chain, held):
            asked = self._asked_spot(symbol, on_retry)
            chain = fetch_chain(self._rest, underlying, self._scope(began.ts, asked), on_retry, FETCH_MOST_S)
        if not chain.contracts:
            raise FaultyError(f"empty chain ({chain.dropped} rows without a usable date)")
        spot = chain.spot or (asked if asked is not held else None) or self._asked_spot(symbol, on_retry)
        return Fetched(chain, began, spot, int((time.monotonic() - started) * 1000))

    def _market_now(self, on_retry: OnRetry) -> Moment:
        """The market's time, never ours: a simulated session runs on its own clock."""
        try:
            now = market_now(self._rest, on_retry)
        except RefusedError as error:
            if error.status not in (403, 404):
                raise
            if not self._own_clock:
                self._own_clock = True
                self._log.warning("the provider does not tell its time; this machine's clock is used", why=str(error))
            return Moment(int(time.time() * 1000), "")
        self._own_clock = False
        return now

    def _scope(self, ts: int, spot: Value | None) -> Scope:
        if self._settings.scope == "full":
            return Scope()
        today = new_york_day(ts)
        strikes = None
        if spot is not None:
            half = WIDER * self._settings.scope_strikes
            strikes = max(0.0, spot.price * (1 - half)), spot.price * (1 + half)
        return Scope((today, today + timedelta(days=self._settings.scope_days)), strikes)

    def _misses(self, chain: Chain, held: Value) -> bool:
        """Whether what we held as spot was so old that the strikes needed may lie outside of what was asked for."""
        if chain.spot is None:
            return not chain.contracts
        moved = abs(chain.spot.price / held.price - 1)
        return not chain.contracts or moved > (WIDER - 1 - RECENTRE_PART) * self._settings.scope_strikes

    def _held_spot(self, symbol: str) -> Value | None:
        try:
            return held_spot(self._database, self.keys, symbol)
        except (RedisError, OSError):
            return None  # the provider knows it too, and Redis may be back when the chain is there

    def _asked_spot(self, symbol: str, on_retry: OnRetry) -> Value | None:
        """Spot as the provider says it; None where the plan includes neither the index nor the underlying's price."""
        if self._settings.scope == "full" and symbol not in INDEX_SYMBOLS:
            return None
        try:
            if symbol in INDEX_SYMBOLS:
                for value in index_values(self._rest, [provider_symbol(symbol)], on_retry):
                    return value
        except RefusedError:
            pass  # an index plan is sold apart; the chain may say it all the same
        return peek_spot(self._rest, provider_symbol(symbol), on_retry)

    # --- counting ---
    def _count_chain(self, symbol: str, fetched: Fetched) -> None:
        chain, now_ms = fetched.chain, int(time.time() * 1000)
        pipe = self._database.pipeline(transaction=False)
        analytics, latency = self.keys.analytics(self.name, symbol), self.keys.latency(self.name, symbol)
        counts = {"fetches": 1, "pages": chain.pages, "rows": chain.contracts, "bad_rows": chain.dropped}
        for field, count in (counts | {f"bad:{reason}": count for reason, count in chain.bad.items()}).items():
            pipe.hincrby(analytics, field, count)
        newest = {"last_ok_ms": now_ms, "last_latency_ms": fetched.latency_ms}
        pipe.hset(analytics, mapping=newest | {f"{field}:{symbol}": value for field, value in newest.items()})
        pipe.hset(analytics, f"failed_in_a_row:{symbol}", 0)
        if fetched.began.market:
            pipe.hset(analytics, "market", fetched.began.market)  # the keeper takes no silence of a closed market ill
        else:
            pipe.hdel(analytics, "market")
        pipe.zadd(latency, {f"{now_ms}:{symbol}:{fetched.latency_ms}": now_ms})
        pipe.zremrangebyscore(latency, "-inf", now_ms - LATENCY_WINDOW_MS)
        pipe.execute()
        metrics.EVENTS.labels(self.name, "fetched").inc()

    def _count_failure(self, symbol: str, kind: str, why: str) -> int:
        """Answers how many fetches of the symbol have failed in a row, whichever process made them."""
        pipe = self._database.pipeline(transaction=False)
        analytics = self.keys.analytics(self.name, symbol)
        pipe.hincrby(analytics, f"failed_in_a_row:{symbol}", 1)
        pipe.hincrby(analytics, "failures", 1)
        pipe.hincrby(analytics, f"failures:{kind}", 1)
        pipe.hset(analytics, f"last_error:{symbol}", why)
        metrics.EVENTS.labels(self.name, "failed").inc()
        return int(pipe.execute()[0])


def _read_jobs(entries: Sequence[Entry]) -> list[Job]:
    """Raises Poison for the entries that are no jobs."""
    jobs, poison = [], {}
    for entry in entries:
        try:
            symbol, force = entry.text("symbol"), entry.text("force") if b"force" in entry.fields else "0"
            if not (symbol.isalnum() and symbol.isascii() and len(symbol) <= 10):
                raise FieldError(f"{entry.stream} {entry.id}: symbol is not one: {symbol[:40]!r}")
            if force not in ("0", "1"):
                raise FieldError(f"{entry.stream} {entry.id}: force is neither 0 nor 1: {force[:40]!r}")
            reason = entry.text("reason") if b"reason" in entry.fields else "manual"
        except FieldError as error:
            poison[entry.id] = str(error)
        else:
            jobs.append(Job(entry, symbol, reason, force == "1"))
    if poison:
        raise Poison(poison)
    return jobs


def _chain_entry(job: Job, fetched: Fetched) -> list[str | bytes]:
    """Fields and values of the chain's entry. Numbers as text: a script must not round them."""
    fields: dict[str, str | bytes] = {
        "symbol": job.symbol, "ts": str(fetched.began.ts), "expirations": orjson.dumps(sorted(fetched.chain.rows)),
        "contracts": str(fetched.chain.contracts),
    }
    if fetched.spot is not None:
        fields |= {"spot": repr(fetched.spot.price), "spot_ts": str(fetched.spot.ts)}
    if fetched.began.market:
        fields["market"] = fetched.began.market
    fields |= {"latency_ms": str(fetched.latency_ms), "force": str(int(job.force)), "reason": job.reason}
    return [part for item in fields.items() for part in item]


def _backoff_s(error: BaseException, in_a_row: int) -> float:
    """Until the next fetch of a symbol whose fetch failed. A refused key or plan is not asked again soon."""
    first, most = BACKOFF_S
    if isinstance(error, RefusedError):
        return most
    backoff = min(most, first * 2.0 ** min(in_a_row - 1, 10)) * (0.75 + random.random() / 4)
    if isinstance(error, BusyError) and error.retry_after_s is not None:
        return min(most, max(backoff, error.retry_after_s))
    return backoff


def run(settings: Settings, database: Database, life: Life) -> None:
    with Rest(
        settings.rest_url, settings.api_key, timeout_s=settings.rest_timeout_s,
        requests_per_s=settings.rest_requests_per_s, stop=life.stop, connections=settings.rest_concurrency,
    ) as rest:
        stage = ChainStage(settings, database, life.keys, rest, life.stop, life.progress, life.unready)
        try:
            run_stage(stage, database, settings, life)
        finally:
            stage.close()
