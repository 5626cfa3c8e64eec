"""normalize: reads massive:chain:stream, makes epochs.

A complete chain refreshes the active epoch in place (same contracts) or becomes a new one: ``begin.lua`` decides,
``stage.lua`` writes the contracts in chunks while ticks go on in both epochs, and ``promote.lua`` switches in one call.
``refresh.lua`` brings the same chain's values into the active epoch, chunk by chunk.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from walrus import Database

from pipeline import registers
from pipeline.calendar import previous_session
from pipeline.chain_rows import ChainContract, ChainRows, read_rows
from pipeline.contract import geometry_hash
from pipeline.entry import Entry, FieldError
from pipeline.errors import Gone, NotYet, Poison
from pipeline.geometry import new_york_day, pack_panes, scope_at
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.logs import Log, get_log
from pipeline.registers import ValueFault
from pipeline.scripts import Scripts
from pipeline.settings import Settings

CHUNK = 200
"""Contracts a script writes in one call: a millisecond or two of the server's time."""
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain entry with its rows, in scope."""

    entry: Entry
    symbol: str
    ts: int
    force: bool
    reason: str
    price: str
    """Spot as text, '' when the chain does not say."""
    spot_ts: str
    market: str
    """open, closed or what else the provider says of the market; '' when the chain does not say."""
    centre: float | None
    rows: ChainRows

    @property
    def contracts(self) -> list[ChainContract]:
        return [self.rows.contracts[ticker] for ticker in sorted(self.rows.contracts)]

    @property
    def minute(self) -> str:
        """The newest provider minute among the quotes, ms."""
        newest = max((int(row.quote[0] or 0) for row in self.rows.contracts.values() if row.quote), default=0)
        return str(newest // 60_000 * 60_000)


@dataclass(frozen=True, slots=True)
class Begun:
    """A chain and what begin.lua made of it: ``epoch`` is the id it would make, ``active`` the one it found ('')."""

    verdict: bytes
    chain: Chain
    epoch: str
    active: str
    chunks: list[list[ChainContract]]


class NormalizeStage:
    name = "normalize"
    reclaim_idle_ms = 15_000

    def __init__(
        self, settings: Settings, database: Database, progress: Callable[[], None] = lambda: None
    ) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._database = database
        self._settings = settings
        self._progress = progress  # a large chain takes long on a busy machine: each chunk of it is progress
        self._log: Log = get_log(stage=self.name)

    def streams(self) -> list[str]:
        return self.keys.streams("chain", self._settings.symbols)

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        """Chains are large and few: one at a time, each with its own acknowledgement."""
        for position, entry in enumerate(entries):
            try:
                self._commit_chain(entry, consumer)
            except NotYet:
                if position:
                    raise Gone(frozenset(entry.id for entry in entries[position:])) from None
                raise

    def _commit_chain(self, entry: Entry, consumer: str) -> None:
        begun = self.begin(entry, consumer)
        match begun.verdict:
            case b"stage":
                if all(self.stage_chunk(begun, consumer, number) for number in range(len(begun.chunks))):
                    self.promote(begun, consumer)
            case b"refresh":
                for number in range(len(begun.chunks)):
                    if not self.refresh_chunk(begun, consumer, number):
                        return
            case b"wait":
                raise NotYet("an older chain of this underlying is not done", _WAIT_S)
            case b"epochs":
                raise NotYet("the active epoch changed meanwhile", 0.01)

    def begin(self, entry: Entry, consumer: str) -> "Begun":
        """What a chain is, by begin.lua. Raises Poison for one that cannot be read."""
        try:
            symbol, ts = entry.text("symbol"), entry.integer("ts")
            registers.time_ms(ts, "ts")
            if symbol not in self._settings.symbols:
                raise ValueFault("foreign", f"{symbol[:20]!r} is not one of our symbols")
            active, meta = self._active(symbol)
            chain = self._read(entry, symbol, ts, meta)
        except (FieldError, ValueFault) as error:
            raise Poison({entry.id: str(error)}) from error
        tickers = [row.ticker for row in chain.contracts]
        digest = geometry_hash(ticker.ticker for ticker in tickers)
        epoch = f"{symbol}:{ts}:{digest[:6]}"
        packed = pack_panes(tickers)
        keys = self.keys
        verdict = self.scripts.run(
            "begin",
            {
                "stream": entry.stream, "active": keys.epoch_active(symbol), "staging": keys.epoch_staging(symbol),
                "retiring": keys.epoch_retiring(symbol), "expected_meta": keys.epoch_meta(active or epoch),
                "geometry": keys.geometry(epoch), "staged": keys.staged(epoch), "meta": keys.epoch_meta(epoch),
                "analytics": keys.analytics("chain", symbol),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch,
                "expected": active, "ts": ts, "hash": digest, "force": int(chain.force),
                "panes": [part for item in packed.items() for part in item],
                "facts": self._facts(chain, digest, packed, tickers_strikes=len({t.strike for t in tickers})),
                "registers": keys.registers(epoch),
            },
        )
        return Begun(verdict, chain, epoch, active, list(_chunks(chain.contracts)))

    def _active(self, symbol: str) -> tuple[str, dict[bytes, bytes]]:
        active = (self._database.hget(self.keys.epoch_active(symbol), symbol) or b"").decode()
        return active, self._database.hgetall(self.keys.epoch_meta(active)) if active else {}

    def _read(self, entry: Entry, symbol: str, ts: int, meta: dict[bytes, bytes]) -> Chain:
        """The rows of a chain entry, narrowed to the scope."""
        raw: list[object] = []
        for expiration in self._expirations(entry):
            payload = self._database.get(self.keys.chain_snapshot(symbol, expiration, ts))
            if payload is None:
                raise ValueFault("expired", f"the rows of {symbol} {expiration} at {ts} are gone (they stay 300 s)")
            try:
                rows = orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                raise ValueFault("not_json", f"the rows of {symbol} {expiration} at {ts}: {error}") from None
            if not isinstance(rows, list):
                raise ValueFault("not_a_list", f"the rows of {symbol} {expiration} at {ts} are no list")
            raw += rows
        rows = read_rows(raw, symbol, ts)
        price = registers.decimal(entry.number("spot")) if entry.fields.get(b"spot") else ""
        if price and not 0 < float(price) < registers.PRICE_LIMIT:
            raise ValueFault("out_of_range", f"{entry.stream} {entry.id}: spot is {price}")
        spot_ts = registers.time_ms(entry.integer("spot_ts"), "spot_ts") if entry.fields.get(b"spot_ts") else str(ts)
        centre = float(meta[b"centre"]) if meta.get(b"centre") else None
        settings = self._settings
        scope = scope_at(
            settings.scope, settings.scope_days, settings.scope_strikes, ts, float(price) if price else None, centre
        )
        inside = {ticker: row for ticker, row in rows.contracts.items() if scope.has(row.ticker)}
        if not inside:
            raise ValueFault("empty", f"no contract of {symbol} at {ts} is in scope ({len(raw)} rows)")
        forced = entry.fields.get(b"force") == b"1"
        reason = entry.fields.get(b"reason", b"chain").decode(errors="replace")
        return Chain(
            entry, symbol, ts, forced, reason, price, spot_ts,
            entry.fields.get(b"market", b"").decode(errors="replace")[:20], scope.centre,
            ChainRows(inside, rows.faults),
        )

    @staticmethod
    def _expirations(entry: Entry) -> list[str]:
        try:
            expirations = orjson.loads(entry.text("expirations"))
        except orjson.JSONDecodeError as error:
            raise ValueFault("not_json", f"{entry.stream} {entry.id}: expirations: {error}") from None
        if not isinstance(expirations, list) or not all(isinstance(day, str) for day in expirations):
            raise ValueFault("not_a_list", f"{entry.stream} {entry.id}: expirations is no list of dates")
        return expirations

    def _facts(self, chain: Chain, digest: str, packed: dict[str, bytes], tickers_strikes: int) -> list[str]:
        """Fields of the new epoch's meta."""
        delayed = any(row.delayed for row in chain.rows.contracts.values())
        facts = {
            "symbol": chain.symbol, "created_ts": chain.entry.id.partition("-")[0], "snapshot_ts": chain.ts,
            "chain_ts": chain.ts, "geometry": digest, "contracts": len(chain.rows.contracts),
            "strike_count": tickers_strikes, "panes": len(packed), "computed": 0, "reason": chain.reason,
            "forced_dirty": int(chain.force), "dormant_count": 0, "ws_updates": 0,
            **_following(chain),
            "timeframe": "delayed" if delayed else "real-time",
            "widths": ",".join(map(registers.decimal, self._settings.widths_of(chain.symbol))),
            "rate": registers.decimal(self._settings.rate),
        }
        return _flat(facts)

    def stage_chunk(self, begun: "Begun", consumer: str, number: int) -> bool:
        """False: the entry is another consumer's, or a newer chain took the place."""
        keys, chain, epoch = self.keys, begun.chain, begun.epoch
        symbol, entry = chain.symbol, chain.entry
        self._progress()
        return bool(self.scripts.run(
            "stage",
            {
                "stream": entry.stream, "staging": keys.epoch_staging(symbol), "staged": keys.staged(epoch),
                "sequence": keys.sequence(symbol), "commits": keys.stream("commit", symbol),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch,
                "chunk": number, "ts": chain.ts, "fresh": keys.registers(epoch),
                "known": keys.registers(begun.active) if begun.active else {},
                "panes": _by_pane(begun.chunks[number], chain.ts), "legends": registers.legends(),
            },
        ))

    def promote(self, begun: "Begun", consumer: str) -> None:
        keys, chain, epoch = self.keys, begun.chain, begun.epoch
        symbol, entry = chain.symbol, chain.entry
        verdict = self.scripts.run(
            "promote",
            {
                "stream": entry.stream, "staged": keys.staged(epoch), "retiring": keys.epoch_retiring(symbol),
                "timeline": keys.epoch_timeline(symbol), "epochs": keys.stream("epoch", symbol),
                "analytics": keys.analytics("chain", symbol), "old_meta": keys.epoch_meta(begun.active or epoch),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch,
                "chunks": len(begun.chunks), "ts": chain.ts, "reason": chain.reason, "price": chain.price,
                "spot_ts": chain.spot_ts, "names": dict(keys.names(symbol, epoch)), "minute": chain.minute,
                "counts": _counts(chain),
            },
        )
        if verdict == b"promoted":
            self._log.info(
                "promoted", symbol=symbol, epoch=epoch, previous=begun.active, entry=entry.id, reason=chain.reason,
                contracts=len(chain.rows.contracts),
            )

    def refresh_chunk(self, begun: "Begun", consumer: str, number: int) -> bool:
        """False: the entry is another consumer's. Raises NotYet where the active epoch is another by now."""
        keys, chain, epoch = self.keys, begun.chain, begun.active
        symbol, entry = chain.symbol, chain.entry
        self._progress()
        changed = self.scripts.run(
            "refresh",
            {
                "stream": entry.stream, "analytics": keys.analytics("chain", symbol),
                "epochs": keys.stream("epoch", symbol),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch,
                "chunk": number, "last": int(number == len(begun.chunks) - 1), "ts": chain.ts, "price": chain.price,
                "spot_ts": chain.spot_ts, "names": dict(keys.names(symbol, epoch)), "minute": chain.minute,
                "panes": _by_pane(begun.chunks[number], chain.ts), "counts": _counts(chain),
                "facts": _flat(_following(chain)),
            },
        )
        if changed == -2:
            raise NotYet("the active epoch changed meanwhile", 0.01)
        return bool(changed != -1)


def _chunks(contracts: list[ChainContract]) -> Iterator[list[ChainContract]]:
    for first in range(0, len(contracts), CHUNK):
        yield contracts[first : first + CHUNK]


def _following(chain: Chain) -> dict[str, str]:
    """Facts of an epoch that follow the newest chain, whether it made the epoch or refreshed it."""
    return {
        "centre": "" if chain.centre is None else registers.decimal(chain.centre),
        "market": chain.market,
        "oi_date": previous_session(new_york_day(chain.ts)).isoformat(),
    }


def _flat(facts: Mapping[str, object]) -> list[str]:
    return [str(part) for item in facts.items() for part in item]


def _counts(chain: Chain) -> list[str | int]:
    return [part for reason, n in chain.rows.faults.items() for part in (f"bad:{reason}", n)]


def _by_pane(rows: Iterable[ChainContract], ts: int) -> list[dict[str, object]]:
    """As the scripts take them: pane by pane, the registers of its contracts beside their tickers."""
    panes: dict[str, dict[str, Any]] = {}
    for row in rows:
        pane = row.ticker.pane
        of = panes.setdefault(pane, {"pane": pane, "tickers": [], **{kind: [] for kind in registers.REGISTERS}})
        of["tickers"].append(row.ticker.ticker)
        said = row.quote, row.trade, row.volume, [str(ts), *row.chain]
        for kind, register in zip(registers.REGISTERS, said, strict=True):
            of[kind].append(register is not None and registers.packed(register))
    return list(panes.values())


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(NormalizeStage(settings, database, life.progress), database, settings, life)
