"""Consumers on strings: each stops before every script call until it is told to go on, die, or make the call twice.

The code that runs is the engine and the stages; only the moment of each call is chosen from outside, so that any order
of steps of several consumers can be played, the same one again and again.
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from pipeline.scripts import Argument, Scripts
from pipeline.stage import Engine
from tests.properties.chaos import DiedError, OneByOne
from tests.world import World

_PATIENCE_S = 20.0
ACTIONS = ("go", "go", "go", "twice", "die before", "die after", "cut before", "cut after")
"""``cut``: the connection is lost before the call arrives, or with the reply; the same process tries again."""


class _StringedScripts(Scripts):
    def __init__(self, scripts: Scripts, puppet: "Puppet") -> None:
        self._scripts = scripts._scripts
        self._puppet = puppet

    def run(self, name: str, keys: Mapping[str, str], arguments: Mapping[str, Argument]) -> Any:
        action = self._puppet.ask(name)
        if action == "die before":
            raise DiedError(name)
        if action == "cut before":
            raise RedisConnectionError(name)
        reply = super().run(name, keys, arguments)
        if action == "twice":
            reply = super().run(name, keys, arguments)
        if action == "cut after":
            raise RedisConnectionError(name)
        if action == "die after":
            raise DiedError(name)
        return reply

    @contextmanager
    def conversation(self) -> Iterator[Any]:
        yield OneByOne(self)


class Puppet:
    """One consumer of one stage, in a thread of its own that moves only when ``advance`` is called."""

    def __init__(self, world: World, stage: str) -> None:
        self._world = world
        self._stage = stage
        self._orders: queue.Queue[str] = queue.Queue()
        self._news: queue.Queue[str] = queue.Queue()
        self._loose = False
        self.at = "idle"
        self._engine = self._hire()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _hire(self) -> Engine:
        engine = self._world.engine(self._stage, block_ms=10)
        engine.stage.reclaim_idle_ms = 0  # everything pending may be taken over at any moment
        engine.stage.scripts = _StringedScripts(engine.stage.scripts, self)
        return engine

    def _live(self) -> None:
        while (order := self._orders.get()) != "end":
            moved = 0
            try:
                if order in ACTIONS:
                    moved = self._engine.step()
            except DiedError:
                self._engine = self._hire()
                moved = 1
            self._news.put("moved" if moved else "idle")

    def ask(self, script: str) -> str:
        """Called before a script call, in the puppet's thread."""
        if self._loose:
            return "go"
        self._news.put(script)
        return self._orders.get()

    def advance(self, action: str) -> str:
        """Go on until before the next script call or the end of the turn; where it stands then."""
        self._orders.put(action)
        self.at = self._news.get(timeout=_PATIENCE_S)
        return self.at

    def turn(self) -> None:
        """Go on to the end of a turn, beginning one where none is under way."""
        self.advance("go")
        while self.at not in ("idle", "moved"):
            self.advance("go")

    def finish(self) -> None:
        """Let it go to the end of its turn, and end its thread."""
        self._loose = True
        if self.at not in ("idle", "moved"):
            self._orders.put("go")
            self._news.get(timeout=_PATIENCE_S)
        self._orders.put("end")
        self._thread.join(_PATIENCE_S)
