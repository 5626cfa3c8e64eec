"""hydrate: reads massive:ws:stream and massive:spot:stream, makes each contract worth what its newest event says.

A batch is coalesced to the newest quote, trade and volume of each contract, so that a burst costs less a tick, not
more (``pipeline.worth``); ``hydrate.lua`` and ``spot.lua`` apply it to the active epoch (and the one being staged),
mark what changed, note the commit and acknowledge, in one call. Frames that are no frames go to the dead letters;
events that are no events are counted, and their neighbours applied.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from walrus import Database

from pipeline import metrics, registers
from pipeline.entry import Entry, FieldError, ranges
from pipeline.errors import Gone, Poison
from pipeline.frames import FrameError, FrameReader
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.registers import ValueFault
from pipeline.scripts import Argument, Call, Scripts
from pipeline.settings import Settings
from pipeline.worth import Batch, Section, Worths

CALL_CONTRACTS = 1000
"""A call takes frames until it has so many contracts: some three milliseconds of the server's time where all have
moved. Half as many merge a quarter less of the events of a backlog, which then takes a fifth longer."""
_EPOCH_TRIES = 20


@dataclass(slots=True)
class _Spots:
    """What a batch says of one underlying's spot: each minute's newest, for the trail; the last is newest of all."""

    entries: list[Entry] = field(default_factory=list)
    by_minute: dict[int, tuple[int, float, str]] = field(default_factory=dict)

    def add(self, entry: Entry, ts: int, price: float) -> None:
        self.entries.append(entry)
        held = self.by_minute.get(ts // 60_000)
        if held is None or (ts, price) > held[:2]:
            self.by_minute[ts // 60_000] = ts, price, entry.id

    def packed(self) -> list[str]:
        return [
            part for ts, price, origin in sorted(self.by_minute.values())
            for part in (registers.decimal(price), str(ts), origin)
        ]


_Ready = tuple[Batch, list[tuple[Section, dict[str, Any]]]]
"""A batch, and its sections as the script is told them."""


class HydrateStage:
    name = "hydrate"
    reclaim_idle_ms = 5000

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._database = database
        self._symbols = settings.symbols
        self._ws_streams = set(self.keys.streams("ws", settings.symbols))
        self._frames = FrameReader()
        self._worths = Worths(settings.symbols)
        self._epochs: dict[str, tuple[str, str]] = {}

    def streams(self) -> list[str]:
        return self.keys.streams("ws", self._symbols) + self.keys.streams("spot", self._symbols)

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        if entries[0].stream in self._ws_streams:
            self._commit_frames(entries, consumer)
        else:
            self._commit_spots(entries, consumer)

    # --- frames ---
    def _commit_frames(self, entries: Sequence[Entry], consumer: str) -> None:
        """In calls of bounded size. While Redis runs the one, the next is made."""
        frames = deque(entries)
        ready: _Ready | None = self._batch(frames)
        while ready is not None:
            later = list(frames)
            with self.scripts.conversation() as server:
                server.send(Call("hydrate", *self._call(ready[0].entries, consumer, self._sections(ready))))
                server.flush()
                try:
                    following = self._batch(frames) if frames else None
                finally:
                    self._finish(server.reply(), ready, consumer, later)
            ready = following

    def _batch(self, frames: deque[Entry]) -> _Ready:
        """The first frames, as many as one call may bring, ready to be sent. Raises Poison for one that is none."""
        batch = Batch(self._worths, self._latest)
        while frames and batch.contracts < CALL_CONTRACTS:
            entry = frames.popleft()
            payload = entry.fields.get(b"payload")
            try:
                if payload is None:
                    raise FrameError("no field payload")
                events, faults = self._frames.read(payload)
            except FrameError as error:
                raise Poison({entry.id: str(error)}) from error
            for reason, n in batch.add(entry, events, faults).items():
                metrics.of(metrics.EVENTS, self.name, reason).inc(n)
        return batch, [(section, section.packed()) for section in batch.sections.values()]

    def _finish(self, reply: list[Any], ready: _Ready, consumer: str, later: Sequence[Entry]) -> None:
        """What became of a call; with other epochs it is made again. ``later`` entries are left whatever it did."""
        try:
            for _ in range(_EPOCH_TRIES):
                counts = _counted(reply)
                if counts is not None:
                    for outcome, n in zip(("applied", "stale", "size_only", "geometry_miss"), counts, strict=True):
                        metrics.of(metrics.EVENTS, self.name, outcome).inc(n)
                    for section in ready[0].sections.values():
                        metrics.of(metrics.EVENTS, self.name, "events").inc(section.events)
                        metrics.of(metrics.EVENTS, self.name, "conflated").inc(section.events - len(section.worths))
                    return
                self._epochs.clear()
                reply = self.scripts.run("hydrate", *self._call(ready[0].entries, consumer, self._sections(ready)))
        except Gone as gone:
            raise Gone(gone.left | {entry.id for entry in later}) from None
        raise RuntimeError("the epochs changed under every attempt")

    def _sections(self, ready: _Ready) -> list[dict[str, object]]:
        return [self._told(section.symbol, section.entries) | said for section, said in ready[1]]

    def _told(self, symbol: str, entries: Sequence[Entry]) -> dict[str, object]:
        """What the script is told of an underlying and its epochs."""
        active, staging = self._epochs_of(symbol)
        return {
            "symbol": symbol, "active": active, "staging": staging, "ids": ranges(entries),
            "names": self._names(symbol, active), "staged": self.keys.registers(staging) if staging else {},
        }

    def _latest(self, symbol: str) -> int:
        """When an event can be of its epoch at all: decided by the epoch's own time, never by this machine's."""
        active, staging = self._epochs_of(symbol)
        epoch = staging or active
        return int(epoch.split(":")[1]) + registers.FUTURE_MS if epoch else registers.LAST_MS

    # --- spot ---
    def _commit_spots(self, entries: Sequence[Entry], consumer: str) -> None:
        spots: dict[str, _Spots] = {}
        poison: dict[str, str] = {}
        for entry in entries:
            try:
                symbol, ts, price = entry.text("symbol"), entry.integer("ts"), entry.number("price")
                registers.time_ms(ts, "ts")
                if registers.price(price, "price") is None or price == 0:
                    raise ValueFault("out_of_range", f"no spot: {price!r}")
                if symbol in self._symbols:
                    if ts > self._latest(symbol):
                        raise ValueFault("in_the_future", f"the spot of {symbol} is dated {ts}")
                    spots.setdefault(symbol, _Spots()).add(entry, ts, price)
            except (FieldError, ValueFault) as error:
                poison[entry.id] = str(error)
        if poison:
            raise Poison(poison)
        for _ in range(_EPOCH_TRIES):
            packed: list[dict[str, object]] = []
            for symbol, said in spots.items():
                active, _staging = self._epochs_of(symbol)
                packed.append({
                    "symbol": symbol, "active": active, "ids": ranges(said.entries),
                    "names": self._names(symbol, active), "counts": ["spots", len(said.entries)],
                    "spots": said.packed(),
                })
            if _counted(self.scripts.run("spot", *self._call(entries, consumer, packed))) is not None:
                return
            self._epochs.clear()
        raise RuntimeError("the epochs changed under every attempt")

    # --- both ---
    def _call(
        self, entries: Sequence[Entry], consumer: str, sections: list[dict[str, object]]
    ) -> tuple[dict[str, str], dict[str, Argument]]:
        """Keys and arguments of both scripts."""
        return {"stream": entries[0].stream}, {
            "group": self.name, "consumer": consumer, "entries": [entry.id for entry in entries], "sections": sections,
        }

    def _names(self, symbol: str, epoch: str) -> dict[str, str]:
        return {**self.keys.names(symbol, epoch), "analytics": self.keys.analytics(self.name, symbol)}

    def _epochs_of(self, symbol: str) -> tuple[str, str]:
        """(active, staging) as last seen; the script refuses them when they have changed."""
        known = self._epochs.get(symbol)
        if known is None:
            active = self._database.hget(self.keys.epoch_active(symbol), symbol) or b""
            staging = self._database.hget(self.keys.epoch_staging(symbol), symbol) or b""
            known = self._epochs[symbol] = active.decode(), staging.decode()
        return known


def _counted(reply: list[Any]) -> list[int] | None:
    """What a script counted, or None where the epochs are not the ones named. Raises Gone."""
    match reply[0]:
        case b"ok":
            counts: list[int] = reply[1:]
            return counts
        case b"gone":
            raise Gone(frozenset(entry.decode() for entry in reply[1:]))
        case _:
            return None


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(HydrateStage(settings, database), database, settings, life)
