"""Replays: which there are, one as a stream, and another one begun from the page.

A replay's streams are kept whole until it is dropped, so who follows one reads them from their beginning at a pace of
its own: nothing is conflated, and nothing is too old.
"""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from walrus import Database

from pipeline.gateway.documents import Documents
from pipeline.gateway.event import Event
from pipeline.gateway.hub import HEARTBEAT_S, Channel
from pipeline.gateway.reader import Reader
from pipeline.keys import Keys
from pipeline.replay.namespace import abouts, checked_name, drop
from pipeline.replay.window import WindowError
from pipeline.settings import Settings

RUNNING_MAX = 2
"""Replays that a gateway runs at the same time: each takes a core."""
_POLL_S = 0.1
_BEGIN_S = 30.0
_LEAVE_S = 1.5  # a gateway is gone three seconds after it is told to
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_TEXTS = ("name", "symbol", "speed", "error", "source", "state", "mode", "layout", "base")


class UnknownReplay(LookupError):
    """There is none of the name."""


class RefusedReplay(ValueError):
    """It cannot be begun; one line says why."""


class Replay:
    """One that there is."""

    def __init__(
        self, database: Database, connect: Callable[[Callable[[], None] | None], Database], about: dict[str, Any]
    ) -> None:
        self.name = str(about["name"])
        self.symbols = (str(about["symbol"]),)
        self._keys = Keys("tagged" if about.get("layout") == "tagged" else "flat", Keys.replay_namespace(self.name))
        self.documents = Documents(database, self._keys, self.symbols)
        self._database = database
        self._connect = connect

    def heartbeat(self) -> bytes:
        """Its own state in place of the feeds'."""
        facts = self.documents.heartbeat()
        seconds, micros = self._database.time()
        about = next((one for one in listed(self._database) if one["name"] == self.name), None)
        return orjson.dumps({"now": seconds * 1000 + micros // 1000, "redis": True, **facts, "replay": about})

    def reader(self, mark: str) -> Reader:
        """From its first entry, or after a mark. Raises ValueError for what is none."""
        reader = Reader(self._connect, self._keys, self.symbols)
        if mark not in ("", "0"):
            reader.begin_at(mark)
        return reader

    async def pieces(self, reader: Reader, channel: Channel, reset: bool) -> AsyncGenerator[bytes, None]:
        """What is sent: all of it, as fast as it is taken; then what comes, for as long as somebody listens."""
        clock = asyncio.get_running_loop().time
        beat_at = float("-inf")
        if reset:
            yield channel.reset("start")
        try:
            while True:
                piece = await asyncio.to_thread(self._piece, reader, channel)
                if clock() - beat_at >= HEARTBEAT_S:
                    beat_at = clock()
                    beat = Event("heartbeat", "", "", None, await asyncio.to_thread(self.heartbeat), b"")
                    piece += beat.frame(channel.view, channel.gzip)
                yield piece  # even where there is none: whoever sends it looks up
                if reader.at_end:
                    await asyncio.sleep(_POLL_S)
        finally:
            reader.close()

    def _piece(self, reader: Reader, channel: Channel) -> bytes:
        events = [event.unplaced() for event in reader.read(None)]
        return channel.piece(events) + channel.mark(reader.mark) if events else b""


class Replays:
    """Those of a server, and those that this process runs."""

    def __init__(
        self, connect: Callable[[Callable[[], None] | None], Database], settings: Settings, keys: Keys,
    ) -> None:
        self._database = connect(None)
        self._connect = connect
        self._settings = settings
        self._keys = keys
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._watching: set[asyncio.Task[None]] = set()

    def open(self, name: str) -> Replay:
        """Raises UnknownReplay."""
        about = next((one for one in listed(self._database) if one["name"] == name and one.get("symbol")), None)
        if about is None:
            raise UnknownReplay(name)
        return Replay(self._database, self._connect, about)

    def listed(self) -> dict[str, Any]:
        """Every replay, the newest first, and what could be replayed."""
        return {"replays": listed(self._database), "recorded": {
            symbol: recorded for symbol in self._settings.symbols
            if (recorded := self._recorded(symbol)) is not None
        }}

    def _recorded(self, symbol: str) -> dict[str, int] | None:
        """From the first event that is still there to the last commit."""
        first = [
            int(rows[0][0].partition(b"-")[0]) for noun in ("ws", "spot")
            if (rows := self._database.xrange(self._keys.stream(noun, symbol), count=1))
        ]
        last = self._database.xrevrange(self._keys.stream("commit", symbol), count=1)
        return {"from_ms": max(first), "to_ms": int(last[0][0].partition(b"-")[0])} if first and last else None

    async def begin(self, symbol: str, from_ms: int, to_ms: int, speed: str) -> str:
        """Run one, and answer its name once it has found its window. Raises RefusedReplay."""
        self._running = {name: child for name, child in self._running.items() if child.returncode is None}
        if len(self._running) >= RUNNING_MAX:
            raise RefusedReplay(f"{len(self._running)} replays run already, and no more may")
        name = f"page-{symbol.lower()}-{secrets.token_hex(4)}"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pipeline.cli", "replay", "--symbol", symbol, "--from", _iso(from_ms),
            "--to", _iso(to_ms), "--speed", speed, "--name", name, "--in-process",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
        )
        self._running[name] = child
        said: list[bytes] = []
        watching = asyncio.create_task(_listen(child, said))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        deadline = asyncio.get_running_loop().time() + _BEGIN_S
        while child.returncode is None and asyncio.get_running_loop().time() < deadline:
            if await asyncio.to_thread(self._database.sismember, Keys.replays(), name):
                return name
            await asyncio.sleep(_POLL_S)
        if child.returncode is None:
            child.terminate()
            raise RefusedReplay(f"it did not begin within {_BEGIN_S:.0f} s")
        await watching
        if child.returncode == 0:
            return name
        raise RefusedReplay(_last_line(said))

    async def drop(self, name: str) -> None:
        """End it where it is ours, and remove all of it. Raises UnknownReplay."""
        await self._end(name)
        try:
            await asyncio.to_thread(drop, self._database, checked_name(name))
        except WindowError:
            raise UnknownReplay(name) from None

    async def close(self) -> None:
        await asyncio.gather(*map(self._end, list(self._running)))
        self._database.connection_pool.disconnect()

    async def _end(self, name: str) -> None:
        child = self._running.pop(name, None)
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _LEAVE_S)
        except TimeoutError:
            child.kill()

    def _environment(self) -> dict[str, str]:
        """Of a process that needs Redis, and no secret besides."""
        secret = ("MASSIVE_API_KEY", "MASSIVE_GATEWAY_TOKEN", "PORT")
        kept = {name: value for name, value in os.environ.items() if name not in secret}
        settings = self._settings
        return {
            **kept, "REDIS_URL": settings.redis_url.get_secret_value(), "MASSIVE_LAYOUT": settings.layout,
            "MASSIVE_NAMESPACE": settings.namespace, "MASSIVE_SYMBOLS": ",".join(settings.symbols),
        }


def listed(database: Database) -> list[dict[str, Any]]:
    """What replays say of themselves, numbers as numbers."""
    return [{name: _number(name, value) for name, value in about.items()} for about in abouts(database)]


def _number(name: str, value: str) -> str | int | float:
    if name in _TEXTS or not _NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


async def _listen(child: asyncio.subprocess.Process, said: list[bytes]) -> None:
    """Read what it says, so that it never waits for a reader; the last of it is kept."""
    assert child.stderr is not None
    while piece := await child.stderr.read(4096):
        said.append(piece)
        del said[:-4]
    await child.wait()


def _last_line(said: list[bytes]) -> str:
    lines = b"".join(said).decode(errors="replace").replace("\r", "\n").strip().splitlines()
    return (lines[-1] if lines else "it ended without a word").removeprefix("marketswarm: ").strip()[:300]


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
