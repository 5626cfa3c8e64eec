"""A window of one underlying: all that came in, in which order it was committed, and what was published of it.

It is read whole before anything is done with it: live goes on trimming.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from walrus import Database

from pipeline.announced import payload_of
from pipeline.base_frame import BaseFrame, frame_times, recorded_settings, stored_frame, unpack_frame
from pipeline.entry import id_key
from pipeline.geometry import NEW_YORK
from pipeline.keys import Keys
from pipeline.settings import Settings

_READ = 1000
_MARKED = ("dormant", "resumed")
"""Commits that no entry of a stream made: the keeper did."""
Fields = Mapping[bytes, bytes]
Progress = Callable[[str, int], None]
"""What is read, and how many entries of it so far."""


class WindowError(ValueError):
    """A window that cannot be had; one line says why, and what can."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of a stream, with the id it had live."""

    id: str
    fields: dict[bytes, bytes]

    @property
    def ms(self) -> int:
        return int(self.id.partition("-")[0])

    def text(self, name: str) -> str:
        return self.fields.get(name.encode(), b"").decode()


@dataclass(frozen=True, slots=True)
class Commit:
    """A row of massive:commit:stream."""

    id: str
    epoch: str
    seq: int
    kind: str
    ids: str
    ts: str
    part: str

    @classmethod
    def read(cls, row: Row) -> "Commit":
        text = row.text
        return cls(row.id, text("epoch"), int(text("seq")), text("kind"), text("ids"), text("ts"), text("part"))

    @property
    def ms(self) -> int:
        return int(self.id.partition("-")[0])

    @property
    def stream(self) -> str:
        """Which stream its ids are of: ws, spot or chain; '' for none."""
        return {"hydrate": "ws", "spot": "spot"}.get(self.kind, "" if self.kind in _MARKED else "chain")

    @property
    def ranges(self) -> list[tuple[str, str]]:
        """(first, last) of each run of ids."""
        return [(first, last or first) for first, _, last in (run.partition("..") for run in self.ids.split())]


@dataclass(slots=True)
class Window:
    """``rows`` holds the provider's rows of each chain entry by expiration. Every list is in the order of its ids.

    ``base`` says what it begins from: ``frame`` (a base frame), ``start`` (the beginning of everything) or ``chain`` (a
    chain that made an epoch; what was quoted before it is not known).
    """

    symbol: str
    from_ms: int
    to_ms: int
    base: str
    frame: bytes | None
    settings: dict[str, Any]
    layout: str = "flat"
    chains: list[Row] = field(default_factory=list)
    rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    ws: list[Row] = field(default_factory=list)
    spots: list[Row] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    versions: list[Row] = field(default_factory=list)
    """Entries of massive:model:stream, large payloads in place; one that is gone has no field ``payload``."""
    _unpacked: BaseFrame | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def base_ms(self) -> int:
        """Where it begins: the base frame's time, or the first entry's."""
        if self.frame is not None:
            return self.unpacked_frame().ts
        return min((rows[0].ms for rows in (self.chains, self.ws, self.spots) if rows), default=self.from_ms)

    @property
    def entries(self) -> int:
        return len(self.chains) + len(self.ws) + len(self.spots)

    def unpacked_frame(self) -> BaseFrame:
        if self.frame is None:
            raise WindowError("the window has no base frame")
        if self._unpacked is None:
            self._unpacked = unpack_frame(self.frame)
        return self._unpacked

    def settings_of(self, own: Settings, name: str) -> Settings:
        """Our own settings with what decides models as it was when this was recorded, in a replay's namespace."""
        recorded = dict(self.settings)
        widths = tuple(float(width) for width in recorded.pop("widths"))
        return own.model_copy(update={
            **recorded, "symbols": (self.symbol,), "widths": {self.symbol: widths, "*": widths},
            "namespace": Keys.replay_namespace(name),
        })

    def by_ids(self, noun: str) -> "Index":
        return Index({"ws": self.ws, "spot": self.spots, "chain": self.chains}[noun])


class Index:
    """Finds rows by ranges of ids."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._places = {row.id: place for place, row in enumerate(rows)}

    def of(self, ranges: Iterable[tuple[str, str]]) -> list[Row]:
        """Raises KeyError for an end of a range that is not there."""
        found: list[Row] = []
        for first, last in ranges:
            found += self._rows[self._places[first] : self._places[last] + 1]
        return found


def read_window(
    database: Database, keys: Keys, symbol: str, from_ms: int, to_ms: int, settings: Settings,
    with_versions: bool = False, progress: Progress = lambda what, n: None,
) -> Window:
    """What live recorded from ``from_ms`` to ``to_ms`` (ms of entry ids, both included), and whatever before it the
    state at ``from_ms`` rests on. Raises WindowError."""
    if from_ms > to_ms:
        raise WindowError(f"the window is empty: it begins at {shown(from_ms)} and ends at {shown(to_ms)}")
    if to_ms > (now := server_ms(database)):
        raise WindowError(f"the window is not over: it ends at {shown(to_ms)}, and it is {shown(now)} at the server")
    commits = [
        Commit.read(row) for row in _read(database, keys.stream("commit", symbol), symbol, "-", f"{to_ms}", progress)
    ]
    window, first_seq = _begun(database, keys, symbol, from_ms, to_ms, settings, commits)
    window.commits = [commit for commit in commits if commit.seq >= first_seq]
    _check_unbroken(window.commits, first_seq)
    starts = _starts(window)
    for noun, rows in (("chain", window.chains), ("ws", window.ws), ("spot", window.spots)):
        rows += _read(database, keys.stream(noun, symbol), symbol, starts[noun], f"{to_ms}", progress)
    if not any(row.ms >= from_ms for rows in (window.chains, window.ws, window.spots) for row in rows):
        raise WindowError(f"the window is empty: nothing came in for {symbol} from {shown(from_ms)} to {shown(to_ms)}")
    _check_whole(window)
    _take_chains(database, keys, window)
    if with_versions:
        window.versions = read_versions(database, keys, symbol, f"{window.base_ms}", f"{to_ms}", progress)
    return window


def read_versions(
    database: Database, keys: Keys, symbol: str, first: str, last: str, progress: Progress = lambda what, n: None
) -> list[Row]:
    """What was published from one id to another, payloads in place; one whose payload is gone has no such field."""
    found = []
    for row in _read(database, keys.stream("model", symbol), symbol, first, last, progress):
        payload = payload_of(database, row.fields)
        if payload is None:
            row.fields.pop(b"payload", None)
        else:
            row.fields[b"payload"] = payload
        found.append(row)
    return found


def server_ms(database: Database) -> int:
    """The server's clock, which makes the ids of entries."""
    seconds, micros = database.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _begun(
    database: Database, keys: Keys, symbol: str, from_ms: int, to_ms: int, settings: Settings, commits: list[Commit]
) -> tuple[Window, int]:
    """A window without its entries, and the first commit that is not in its base."""
    window = Window(symbol, from_ms, to_ms, "frame", None, recorded_settings(settings, symbol), keys.layout)
    times = frame_times(database, keys, symbol)
    stored = stored_frame(database, keys, symbol, max([from_ms, *times[:1]])) if times else None
    if stored is not None:
        window.settings = unpack_frame(stored).settings
    window.frame = stored_frame(database, keys, symbol, from_ms)
    if window.frame is not None:
        return window, window.unpacked_frame().oldest_seq + 1
    if commits[0].seq == 1 if commits else not database.exists(keys.sequence(symbol)):
        window.base = "start"
        return window, 1
    window.base = "chain"
    made = [commit for commit in commits if commit.kind == "promote"]
    before = [commit for commit in made if commit.ms <= from_ms]
    for promoted in before[::-1] or made[:1]:
        staged = [commit.seq for commit in commits if commit.kind == "stage" and commit.ids == promoted.ids]
        if staged and commits[0].seq <= min(staged):
            return window, min(staged)
    since = f"; the first base frame is of {shown(times[0])}" if times else ""
    raise WindowError(
        f"{shown(from_ms)} was trimmed away for {symbol} (MASSIVE_RETENTION_S): no base frame and no chain before it"
        f"{since}"
    )


def _starts(window: Window) -> dict[str, str]:
    """Where the entries of each stream begin that the base does not hold."""
    starts = dict.fromkeys(("chain", "ws", "spot"), "-" if window.base == "start" else f"{window.from_ms}-0")
    if window.base != "start":
        for commit in window.commits:
            for first, _ in commit.ranges:
                if id_key(first) < id_key(starts[commit.stream]):
                    starts[commit.stream] = first
    return starts


def _check_unbroken(commits: list[Commit], first_seq: int) -> None:
    for expected, commit in enumerate(commits, start=first_seq):
        if commit.seq != expected:
            raise WindowError(f"commits {expected} to {commit.seq - 1} were trimmed away, or are of another database")


def _check_whole(window: Window) -> None:
    held = {"ws": window.ws, "spot": window.spots, "chain": window.chains}
    ids = {noun: {row.id for row in rows} for noun, rows in held.items()}
    for commit in window.commits:
        for end in (end for run in commit.ranges for end in run):
            if end not in ids[commit.stream]:
                raise WindowError(
                    f"{shown(int(end.partition('-')[0]))} was trimmed away for {window.symbol} (MASSIVE_RETENTION_S): "
                    f"entry {end} of the {commit.stream} stream is gone"
                )


def _take_chains(database: Database, keys: Keys, window: Window) -> None:
    """Read the rows of the chains. One that was never done, and whose rows are gone, is left out."""
    done = {commit.ids for commit in window.commits}
    kept = []
    for row in window.chains:
        try:
            days = [str(day) for day in orjson.loads(row.text("expirations") or "[]")]
        except (orjson.JSONDecodeError, TypeError):
            days = []  # a broken entry: nobody could do it
        names = [keys.chain_snapshot(window.symbol, day, row.text("ts")) for day in days]
        found = database.mget(names) if names else []
        if days and None not in found:
            window.rows[row.id] = dict(zip(days, found, strict=True))
            kept.append(row)
        elif row.id in done:
            raise WindowError(f"the rows of the chain of {shown(row.ms)} are gone (they stay for the retention window)")
    window.chains[:] = kept


def _read(
    database: Database, stream: str, symbol: str, first: str, last: str, progress: Progress
) -> Iterator[Row]:
    """The entries of an underlying, in bounded reads. A frame that names no underlying may be of any."""
    at, number, of = first, 0, symbol.encode()
    while True:
        found = database.xrange(stream, at, last, count=_READ)
        for raw, fields in found:
            if fields.get(b"symbol", of) == of:
                yield Row(raw.decode(), fields)
        number += len(found)
        progress(stream, number)
        if len(found) < _READ:
            return
        at = f"({found[-1][0].decode()}"


def shown(ms: int) -> str:
    """A time for people: New York's, with its offset."""
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone(NEW_YORK)
    return moment.isoformat(timespec="milliseconds")
