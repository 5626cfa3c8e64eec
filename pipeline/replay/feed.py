"""Feeding a window to the real stages in a namespace of its own: the same entries, the same ids, in the order of live.

What a chain lists decides which events count (G2), so a chain is given when the stages have done all that was committed
before it live, and what followed it when it is done. Between two chains any order ends in the same state (G3), and
entries go in as they came.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from walrus import Database

from pipeline.entry import id_key
from pipeline.epochs import tell_feed
from pipeline.keys import Keys
from pipeline.publication import HEATMAP
from pipeline.replay.namespace import About, load, write
from pipeline.replay.window import Commit, Row, Window
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.status import STAGE_STREAMS

CORE = ("normalize", "hydrate", "calculate", "models")
"""The stages of a replay, unless others are named."""
_GIVEN = 200
"""Entries written at a time."""
_AHEAD = 2000
"""So many entries may wait for the stages at full speed: what waits costs memory and gains nothing."""
_TELL_S = 0.5
_TRIM_S = 5.0
_EVERYTHING = f"{2**50}-0"
_STUCK_S = 120.0


class StuckError(RuntimeError):
    """The stages do not come to an end."""


class Stages(Protocol):
    """What does the work: stages in this process, or processes of their own."""

    names: Sequence[str]

    def turn(self, wait_s: float) -> bool:
        """Let them work, or wait a little; whether anything is known to have moved. Raises StuckError."""
        ...


@dataclass(slots=True)
class Move:
    """What is fed between two waits: entries of ws and spot by id, then perhaps a chain, or what the keeper told."""

    ticks: list[tuple[str, Row]] = field(default_factory=list)
    chain: Row | None = None
    told: Commit | None = None


def moves_of(window: Window) -> list[Move]:
    """The window in the order in which live committed it, as far as the order matters."""
    ticks = sorted(_keyed(window), key=lambda tick: (tick[0], id_key(tick[2].id)))
    done = {commit.ids for commit in window.commits}
    moves, at = [], 0
    for before, chain, told in _spans(window):
        move = Move(chain=chain, told=told)
        # A chain of which nothing came within the window takes its place by its id.
        last = id_key(chain.id) if chain is not None and chain.id not in done else None
        while at < len(ticks) and (ticks[at][0] < before if last is None else id_key(ticks[at][2].id) < last):
            move.ticks.append(ticks[at][1:])
            at += 1
        moves.append(move)
    moves.append(Move([tick[1:] for tick in ticks[at:]]))
    for move in moves:
        move.ticks.sort(key=lambda tick: id_key(tick[1].id))
    return moves


def _spans(window: Window) -> list[tuple[int, Row | None, Commit | None]]:
    """Every chain and whatever the keeper told, each with its first commit, in their order."""
    first: dict[str, int] = {}
    for commit in window.commits:
        if commit.stream == "chain":
            first.setdefault(commit.ids, commit.seq)
    spans: list[tuple[int, Row | None, Commit | None]] = []
    newest = 0  # chains are given in the order of their ids, as their stream takes them
    for chain in window.chains:
        seq = first.get(chain.id)
        if seq is None:
            seq = max((commit.seq for commit in window.commits if commit.ms <= chain.ms), default=0) + 1
        newest = max(newest, seq)
        spans.append((newest, chain, None))
    spans += [(commit.seq, None, commit) for commit in window.commits if not commit.stream]
    return sorted(spans, key=lambda span: span[0])


def _keyed(window: Window) -> Iterator[tuple[int, str, Row]]:
    """Every tick with the number of its commit. A stream takes ids in ascending order only, so one that was committed
    before its elders comes with them; one that changed nothing comes with those before it."""
    for noun, kind, rows in (("ws", "hydrate", window.ws), ("spot", "spot", window.spots)):
        index, newest = window.by_ids(noun), 0
        seqs: dict[str, int] = {}
        for commit in window.commits:
            if commit.kind == kind:
                seqs.update((row.id, commit.seq) for row in index.of(commit.ranges))
        for row in rows:
            newest = max(newest, seqs.get(row.id, 0))
            yield newest, noun, row


class Feed:
    """One replay. ``run`` once, on an empty namespace."""

    def __init__(
        self, window: Window, settings: Settings, database: Database, stages: Stages, about: About,
        speed: float | None = None, stop_at: int | None = None,
        on_progress: Callable[["Feed"], None] = lambda feed: None,
    ) -> None:
        """``settings`` are those of the namespace; ``speed`` is a multiple of the recorded pace, None: as fast as can
        be; ``stop_at`` a version of the replay's heatmap to stop at."""
        self.window = window
        self.given = 0
        self.events = 0
        self.position_ms = window.base_ms
        self.began = time.monotonic()
        self.stopped = False
        self.took_s = 0.0
        self._keys = Keys(settings.layout, settings.namespace)
        self._database = database
        self._scripts = Scripts(database)
        self._stages = stages
        self._about = about
        self._speed = speed
        self._stop_at = stop_at
        self._on_progress = on_progress
        self._due = {"tell": 0.0, "trim": time.monotonic() + _TRIM_S}
        self._moved_at = time.monotonic()
        self._paced_from: tuple[float, int] | None = None

    @property
    def rate(self) -> float:
        """Option events a second since the beginning."""
        return self.events / max(1e-6, self.took_s or time.monotonic() - self.began)

    def run(self, asked_to_end: Callable[[], bool] = lambda: False) -> None:
        """Feed everything, and wait until all of it is done. Raises StuckError."""
        self._asked = asked_to_end
        load(self._database, self._keys, self.window)
        self.began = time.monotonic()
        self._about.tell(state="running")
        for move in moves_of(self.window):
            if self._over() or not self._give_ticks(move.ticks):
                break
            if move.chain is not None and self._settled("hydrate"):
                self._give("chain", [move.chain])
                self._settled("normalize")
            if move.told is not None and self._settled("normalize"):
                self._tell_feed(move.told)
        if not self._over():
            self._settled(*self._stages.names)
        self.stopped = self._over()
        self.took_s = time.monotonic() - self.began
        self._tell(last=True)
        self._about.tell(state="stopped" if self.stopped else "done")

    # --- giving ---
    def _give_ticks(self, ticks: Sequence[tuple[str, Row]]) -> bool:
        """False: it is over."""
        at = 0
        while at < len(ticks):
            end = at + _GIVEN
            if self._speed is not None:
                end = self._ripe(ticks, at, end)
                if end == at:
                    self._turn(min(0.05, self._until(ticks[at][1])))
            if end > at:
                self._wait_for_room()
                for noun in ("ws", "spot"):
                    self._give(noun, [row for of, row in ticks[at:end] if of == noun])
                at = end
                self._turn(0.0)
            if self._over():
                return False
        return True

    def _ripe(self, ticks: Sequence[tuple[str, Row]], at: int, end: int) -> int:
        while end > at and self._until(ticks[min(end, len(ticks)) - 1][1]) > 0:
            end -= 1
        return min(end, len(ticks))

    def _until(self, row: Row) -> float:
        """Seconds until an entry is due. What comes before the window is due at once."""
        if self._speed is None or row.ms < self.window.from_ms:
            return 0.0
        if self._paced_from is None:
            self._paced_from = time.monotonic(), row.ms
        began, first = self._paced_from
        return began + (row.ms - first) / 1000 / self._speed - time.monotonic()

    def _give(self, noun: str, rows: list[Row]) -> None:
        if not rows:
            return
        write(self._database, self._keys.stream(noun, self.window.symbol), rows)
        self.given += len(rows)
        self.position_ms = max(self.position_ms, rows[-1].ms)
        if noun == "ws":
            self.events += sum(self._events_in(row) for row in rows)

    def _events_in(self, row: Row) -> int:
        return row.fields.get(b"payload", b"").count(b'"ev"')

    def _tell_feed(self, told: Commit) -> None:
        """What the keeper told of the feed: it follows a clock, and so is part of the record."""
        tell_feed(self._scripts, self._keys, self.window.symbol, told.epoch, told.kind, told.ts)

    # --- waiting ---
    def _turn(self, wait_s: float) -> None:
        now = time.monotonic()
        if self._stages.turn(wait_s):
            self._moved_at = now
        if now >= self._due["tell"]:
            self._due["tell"] = now + _TELL_S
            self._tell()
        if now >= self._due["trim"]:
            self._due["trim"] = now + _TRIM_S
            self._trim()

    def _wait_for_room(self) -> None:
        while self._waiting("hydrate") > _AHEAD and not self._over():
            self._turn(0.02)

    def _settled(self, *stages: str) -> bool:
        """Wait until stages of ours have nothing left to do; False: it is over before."""
        ours = [stage for stage in stages if stage in self._stages.names]
        left, self._moved_at = -1, time.monotonic()
        while not self._over():
            waiting = sum(self._waiting(stage) for stage in ours)
            if waiting == 0:
                return True
            if waiting != left:
                left, self._moved_at = waiting, time.monotonic()
            if time.monotonic() - self._moved_at > _STUCK_S:
                raise StuckError(f"{', '.join(ours)} did not move for {_STUCK_S:.0f} s with {waiting} entries waiting")
            self._turn(0.02)
        return False

    def _waiting(self, stage: str) -> int:
        """Entries that a stage has not read, or not done."""
        waiting = 0
        for noun in STAGE_STREAMS[stage]:
            stream = self._keys.stream(noun, self.window.symbol)
            if not self._database.exists(stream):
                continue
            group = next(
                (group for group in self._database.xinfo_groups(stream) if group["name"] == stage.encode()), None
            )
            if group is None:
                waiting += self._database.xlen(stream)
                continue
            lag = group.get("lag")
            if lag is None:  # the server lost count after a trim
                lag = len(self._database.xrange(stream, b"(" + group["last-delivered-id"], count=_AHEAD))
            waiting += group["pending"] + lag
        return waiting

    def _over(self) -> bool:
        if self._asked():
            return True
        if self._stop_at is None:
            return False
        version = self._database.hget(self._keys.models_state(self.window.symbol), f"{HEATMAP}:version")
        return int(version or 0) >= self._stop_at

    def _tell(self, last: bool = False) -> None:
        self._on_progress(self)
        self._about.tell(
            position_ms=self.window.to_ms if last and not self.stopped else self.position_ms, entries=self.given,
            events=self.events, rate=round(self.rate),
        )

    def _trim(self) -> None:
        """No keeper runs beside a replay: what every stage has done goes."""
        for noun, stage in (("ws", "hydrate"), ("spot", "hydrate"), ("dirty", "calculate"), ("diff", "models")):
            if stage in self._stages.names:
                self._scripts.run(
                    "trim", {"stream": self._keys.stream(noun, self.window.symbol)},
                    {"keep_from": _EVERYTHING, "groups": [stage]},
                )
