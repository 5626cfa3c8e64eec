"""The namespace of a replay: what is known of it, and how it vanishes."""

import re
import time
from collections.abc import Iterable
from typing import Any

from walrus import Database

from pipeline.base_frame import load_frame
from pipeline.keys import Keys
from pipeline.replay.window import Row, Window, WindowError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_UNDER_WAY = ("loading", "running")
_SILENT_MS = 30_000
_DROP = 500
_WRITE = 500


def checked_name(name: str) -> str:
    """Raises WindowError for what cannot be the name of a replay."""
    if not _NAME.fullmatch(name):
        raise WindowError(f"{name!r} is no name of a replay (1 to 40 letters, digits, - and _)")
    return name


class About:
    """What a replay says of itself, for those who look on."""

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self._database = database
        self._key = Keys.replay_about(name)

    def begin(self, window: Window, mode: str, speed: str, source: str) -> None:
        """Raises WindowError where the name is taken."""
        if not self._database.sadd(Keys.replays(), self.name):
            raise WindowError(f"there is a replay {self.name!r} already: drop it, or take another --name")
        now = _now_ms()
        self.tell(
            name=self.name, symbol=window.symbol, state="loading", mode=mode, speed=speed, source=source, error="",
            from_ms=window.from_ms, to_ms=window.to_ms, base=window.base, base_ms=window.base_ms, layout=window.layout,
            position_ms=window.base_ms, entries=0, entries_total=window.entries, events=0, rate=0, started_ms=now,
        )

    def tell(self, **facts: str | int | float) -> None:
        self._database.hset(self._key, mapping={**facts, "updated_ms": _now_ms()})


def abouts(database: Database) -> list[dict[str, str]]:
    """What all replays say of themselves, the newest first."""
    found = []
    for name in database.smembers(Keys.replays()):
        about = database.hgetall(Keys.replay_about(name.decode()))
        told = {"name": name.decode(), **{key.decode(): value.decode() for key, value in about.items()}}
        if told.get("state") in _UNDER_WAY and not _lives(told):
            told["state"] = "lost"  # whatever ran it was killed
        found.append(told)
    return sorted(found, key=lambda about: int(about.get("started_ms", 0)), reverse=True)


def drop(database: Database, name: str) -> int:
    """Everything of a replay is gone; how many keys it had. Raises WindowError where there is none of the name."""
    if not database.sismember(Keys.replays(), name):
        raise WindowError(f"there is no replay {name!r}: see `marketswarm replay list`")
    told = next(about for about in abouts(database) if about["name"] == name)
    if told.get("state") in _UNDER_WAY:
        raise WindowError(f"replay {name!r} is {told['state']}: end it first")
    dropped, keys = 0, []
    for key in database.scan_iter(match=f"{Keys.replay_namespace(checked_name(name))}*", count=_DROP):
        keys.append(key)
        if len(keys) == _DROP:
            dropped += database.unlink(*keys)
            keys.clear()
    dropped += database.unlink(*keys) if keys else 0
    database.srem(Keys.replays(), name)
    return dropped


def _lives(told: dict[str, str]) -> bool:
    return _now_ms() - int(told.get("updated_ms", 0)) < _SILENT_MS


def load(database: Database, keys: Keys, window: Window) -> None:
    """The base frame, and the rows of every chain: they are read when their entry comes."""
    if window.frame is not None:
        load_frame(database, keys, window.symbol, window.unpacked_frame())
    for chain in window.chains:
        for expiration, rows in window.rows[chain.id].items():
            database.set(keys.chain_snapshot(window.symbol, expiration, chain.text("ts")), rows)


def write(database: Database, stream: str, rows: Iterable[Row]) -> None:
    """Append entries with the ids they had."""
    pipeline: Any = database.pipeline(transaction=False)
    for number, row in enumerate(rows, start=1):
        pipeline.xadd(stream, dict(row.fields), id=row.id)
        if number % _WRITE == 0:
            pipeline.execute()
    pipeline.execute()


def _now_ms() -> int:
    return int(time.time() * 1000)
