"""Market events as a pure fold: a publication and the state before it give the state after it and the events it makes.

Nothing here reads a clock: ``ts`` is event time in ms. What was last *told* of a level is kept, and an event is made
when what is known differs from it and the cool-down is over: a change within the cool-down is told late, or, where it
was undone meanwhile, never. Absent models and members change nothing.
"""

from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from pipeline.folding import Seen, member, number, text
from pipeline.geometry import new_york_day

MODELS = frozenset({"gex", "market_mode", "liquidity_intent", "dealer_gravity"})
"""The models whose payloads are read; events of others carry nothing that these do not."""
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class VigilConstants:
    """What events depend on besides publications. A change of any makes another ``version``. Times are event time."""

    version: int = 1
    sharp_share: float = 0.005
    """A move of spot by this part of it within ``sharp_ms`` is sharp; twice as far is critical."""
    sharp_ms: int = 60_000
    bucket_ms: int = 1_000
    """Spots are remembered as their lowest and highest in each of these."""
    surge_times: float = 3.0
    """The volume book grew within a minute by this many times its mean growth a minute ..."""
    surge_least: int = 5
    """... of at least so many minutes, and of the last ``surge_most``."""
    surge_most: int = 30
    stale_ms: int = 300_000
    """Quotes and spot of a live model that are this far apart: one of them has stopped."""
    keys_kept: int = 64
    """Keys of past events by which a repeated one is known."""
    flip_ms: int = 60_000
    wall_ms: int = 60_000
    mode_ms: int = 60_000
    surge_ms: int = 300_000
    stale_pause_ms: int = 900_000
    dormant_ms: int = 60_000
    """Cool-downs: an event of the same type, and of the same wall, is not told sooner."""


CONSTANTS = VigilConstants()


@dataclass(frozen=True, slots=True)
class Event:
    """``severity`` is info, warning or critical. Events with the same ``key`` are the same event."""

    type: str
    symbol: str
    severity: str
    ts: int
    evidence: dict[str, Any]
    key: str

    def fields(self) -> list[str]:
        """As the event stream has it: names and values."""
        return [
            "type", self.type, "symbol", self.symbol, "severity", self.severity, "ts", str(self.ts),
            "evidence", orjson.dumps(self.evidence).decode(), "key", self.key,
        ]


@dataclass(slots=True)
class State:
    """What is remembered of an underlying; small, and JSON when stored. Everything but ``feed`` is of its models."""

    constants: int = CONSTANTS.version
    seen: dict[str, list[int]] = field(default_factory=dict)
    """Model -> the epoch's time and version of its last publication."""
    trail: list[list[float]] = field(default_factory=list)
    """[bucket, lowest, highest] of spot over the last minute."""
    told: dict[str, Any] = field(default_factory=dict)
    """What was last told: ``side`` of the flip (1 above, -1 below) with ``flip`` and ``spot`` then, ``call``, ``put``,
    ``mode``, ``feed``; and ``level``, the flip of the last document."""
    volume: dict[str, Any] = field(default_factory=dict)
    stale: bool = False
    fired: dict[str, int] = field(default_factory=dict)
    """Event time of the last event of each type."""
    keys: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, stored: bytes) -> "State":
        """The state as stored; an empty one where there is none, or one of other constants."""
        if not stored:
            return cls()
        parsed = orjson.loads(stored)
        if parsed.get("constants") != CONSTANTS.version:
            return cls()
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in parsed.items() if name in known})

    def stored(self) -> bytes:
        return orjson.dumps(self)


class _Step:
    """One publication at work on a copy of the state."""

    def __init__(self, state: State, symbol: str, ts: int, minute: int, constants: VigilConstants) -> None:
        self.state = deepcopy(state)
        self.events: list[Event] = []
        self._symbol = symbol
        self._ts = ts
        self.minute = minute
        self._constants = constants

    def tell(
        self, kind: str, severity: str, evidence: dict[str, Any], which: list[Any], pause_ms: int, subject: str = ""
    ) -> bool:
        """Make an event unless its cool-down runs or its key is known. True: it is told, now or before.

        Times that jump (a wall time among event times) must not silence a type for good: only the distance counts.
        """
        name = f"{kind}:{subject}" if subject else kind
        last = self.state.fired.get(name)
        if last is not None and abs(self._ts - last) < pause_ms:
            return False
        key = ":".join([kind, self._symbol, *(str(part) for part in which)])
        if key in self.state.keys:
            return True
        self.state.fired[name] = self._ts
        self.state.keys = [*self.state.keys, key][-self._constants.keys_kept :]
        told = {**evidence, "constants": self._constants.version}
        self.events.append(Event(kind, self._symbol, severity, self._ts, told, key))
        return True


def step(state: State, seen: Seen, constants: VigilConstants = CONSTANTS) -> tuple[State, list[Event]]:
    """Fold one publication of a model in MODELS. Neither argument is changed.

    A publication that is not newer than the last of its model (put back from the dead letters) changes nothing.
    """
    if list(seen.order) <= state.seen.get(seen.model, []):
        return state, []
    header_ts = number(seen.body, "ts")
    minute = int(header_ts if header_ts is not None else seen.ts) // MINUTE_MS * MINUTE_MS
    work = _Step(state, seen.symbol, seen.ts, minute, constants)
    before = state.seen.get(seen.model)
    work.state.seen[seen.model] = list(seen.order)
    spot = number(seen.body, "spot")
    if spot is not None and spot > 0:
        _sharp_move(work, spot, seen.ts, constants)
    _staleness(work, seen, constants)
    if seen.model == "gex":
        if spot is not None and spot > 0:
            _flip(work, seen, spot, constants)
        for side in ("call", "put"):
            _wall(work, seen, side, spot, constants)
        _volume(work, seen, before is None or before[0] != seen.order[0], constants)
    if seen.model == "market_mode":
        _mode(work, seen, constants)
    return work.state, work.events


def step_epoch(
    state: State, event: str, symbol: str, epoch: str, previous: str, reason: str, ts: int,
    constants: VigilConstants = CONSTANTS,
) -> tuple[State, list[Event]]:
    """Fold one entry of the epoch stream. Dormancy is told once until the feed speaks again, and so is its end."""
    minute = ts // MINUTE_MS * MINUTE_MS
    work = _Step(state, symbol, ts, minute, constants)
    evidence: dict[str, Any] = {"epoch": epoch, "previous": previous, "reason": reason}
    told = work.state.told
    if event == "promoted":
        work.tell("epoch_promoted", "info", evidence, [epoch], 0)
    elif event == "dormant" and told.get("feed") != "dormant":
        if work.tell("feed_dormant", "warning", evidence, [epoch, ts], constants.dormant_ms):
            told["feed"] = "dormant"
    elif event == "resumed" and told.get("feed") != "live" and work.tell(
        "feed_resumed", "info", evidence, [epoch, ts], 0
    ):
        told["feed"] = "live"
    return work.state, work.events


def _sharp_move(work: _Step, spot: float, ts: int, constants: VigilConstants) -> None:
    """Spot against the lowest and highest of the last minute; what was told is not measured again."""
    bucket = ts // constants.bucket_ms
    oldest = bucket - constants.sharp_ms // constants.bucket_ms
    trail = [row for row in work.state.trail if oldest <= row[0] <= bucket]
    low = min((row[1] for row in trail), default=spot)
    high = max((row[2] for row in trail), default=spot)
    up, down = spot / low - 1.0, 1.0 - spot / high
    share = round(max(up, down), 9)  # 7,537.5 is 0.5 % above 7,500, which binary fractions do not say
    if share >= constants.sharp_share:
        rising = up >= down
        severity = "critical" if share >= 2 * constants.sharp_share else "warning"
        evidence = {"from": low if rising else high, "to": spot, "share": round(share if rising else -share, 6),
                    "window_ms": constants.sharp_ms}
        if work.tell("sharp_move", severity, evidence, ["up" if rising else "down", work.minute], constants.sharp_ms):
            trail = []
    if trail and trail[-1][0] == bucket:
        last = trail[-1]
        trail[-1] = [bucket, min(last[1], spot), max(last[2], spot)]
    else:
        trail.append([bucket, spot, spot])
    work.state.trail = trail


def _staleness(work: _Step, seen: Seen, constants: VigilConstants) -> None:
    """The status says so, or quotes and spot of a live model are far apart. Delayed quotes are meant to lag."""
    status = text(seen.body, "status")
    quotes, spot_at = number(seen.body, "as_of", "quotes"), number(seen.body, "as_of", "spot")
    gap = None if quotes is None or spot_at is None else int(spot_at - quotes)
    apart = status in (None, "live") and gap is not None and abs(gap) >= constants.stale_ms
    stale = status == "stale" or apart
    if stale and not work.state.stale:
        evidence = {"status": status, "quotes": quotes, "spot": spot_at, "gap_ms": gap}
        why = "status" if status == "stale" else "gap"
        work.state.stale = work.tell("data_stale", "warning", evidence, [why, work.minute], constants.stale_pause_ms)
    elif not stale and (status is not None or gap is not None):
        work.state.stale = False


def _flip(work: _Step, seen: Seen, spot: float, constants: VigilConstants) -> None:
    """Spot and flip of one document. On the flip itself, and without one, spot stays on the side it was told on."""
    told = work.state.told
    if "levels" in seen.body:  # a diff without levels leaves them as they were
        told["level"] = number(seen.body, "levels", "flip", "value")
    known = number(told, "level")
    if known is None or spot == known:
        return
    side = 1 if spot > known else -1
    if told.get("side") in (None, side):
        told["side"], told["flip"], told["spot"] = side, known, spot
        return
    before = told.get("flip")
    crossed = before is None or (spot > before) == (side > 0)
    evidence = {"to": "above" if side > 0 else "below", "spot": spot, "flip": known, "spot_before": told.get("spot"),
                "flip_before": before, "moved": "spot" if crossed else "flip"}
    if work.tell("flip_crossed", "warning", evidence, [evidence["to"], work.minute], constants.flip_ms):
        told["side"], told["flip"], told["spot"] = side, known, spot


def _wall(work: _Step, seen: Seen, side: str, spot: float | None, constants: VigilConstants) -> None:
    wall, told = number(seen.body, "levels", f"{side}_wall"), work.state.told
    if wall is None or wall == told.get(side):
        return
    if side in told:
        evidence = {"side": side, "from": told[side], "to": wall, "spot": spot}
        if not work.tell("wall_moved", "info", evidence, [side, wall, work.minute], constants.wall_ms, side):
            return
    told[side] = wall


def _mode(work: _Step, seen: Seen, constants: VigilConstants) -> None:
    label, told = text(seen.body, "label"), work.state.told
    if label is None or label == told.get("mode"):
        return
    if "mode" in told:
        evidence = {"from": told["mode"], "to": label, "score": number(seen.body, "score")}
        severity = "warning" if label == "expansion" else "info"
        if not work.tell("mode_changed", severity, evidence, [label, work.minute], constants.mode_ms):
            return
    told["mode"] = label


def _volume(work: _Step, seen: Seen, new_epoch: bool, constants: VigilConstants) -> None:
    """How much the volume book grew this minute, $ per 1 %, against the mean of the minutes before.

    The book is cumulative over a New York day. What grew across a gap, or with another set of contracts, belongs to no
    minute and is not measured.
    """
    total = _volume_total(seen)
    if total is None:
        return
    held, minute = work.state.volume, work.minute
    fresh = {"minute": minute, "base": total, "last": total, "growths": [], "whole": False}
    if not held or minute < held["minute"] or new_york_day(minute) != new_york_day(held["minute"]):
        work.state.volume = fresh
        return
    if new_epoch or minute > held["minute"] + MINUTE_MS:
        work.state.volume = {**fresh, "growths": held["growths"]}
        return
    if minute > held["minute"]:
        if held["whole"]:  # the first minute after a beginning or a gap was seen in part
            grew = max(0.0, held["last"] - held["base"])
            held["growths"] = [*held["growths"], grew][-constants.surge_most :]
        held["minute"], held["base"], held["whole"] = minute, held["last"], True
    held["last"] = total
    growths = held["growths"]
    mean = sum(growths) / len(growths) if growths else 0.0
    grew = total - held["base"]
    if len(growths) >= constants.surge_least and mean > 0 and grew >= constants.surge_times * mean:
        evidence = {"growth_usd": round(grew), "mean_usd": round(mean), "times": round(grew / mean, 2),
                    "minutes": len(growths)}
        work.tell("volume_surge", "info", evidence, [minute], constants.surge_ms)


def _volume_total(seen: Seen) -> float | None:
    """The gross of the volume book, or its total, or both its sides together."""
    for name in ("gross", "total"):
        value = number(seen.body, "books", "volume", name)
        if value is not None:
            return value
    sides = [number(seen.body, "books", "volume", side) for side in ("call", "put")]
    if member(seen.body, "books", "volume") is None or None in sides:
        return None
    return sum(abs(side) for side in sides if side is not None)
