"""A stage running as its process would run it, in a thread of the test's."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from walrus import Database

from pipeline import relay
from pipeline.life import Life
from pipeline.provider import sockets
from pipeline.settings import Settings

Run = Callable[[Settings, Database, Life], None]


class Running:
    def __init__(self, stage: str, run: Run, settings: Settings, database: Database) -> None:
        self.life = Life(stage, settings, database)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run, settings, database), name=stage, daemon=True)
        self._thread.start()

    def _run(self, run: Run, settings: Settings, database: Database) -> None:
        try:
            with self.life:
                run(settings, database, self.life)
        except BaseException as error:
            self.error = error

    def stop(self) -> float:
        """Answers how many seconds it took to leave."""
        started = time.monotonic()
        self.life.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the stage does not leave"
        assert self.error is None, f"the stage ended with {self.error!r}"
        return time.monotonic() - started


@contextmanager
def running(stage: str, run: Run, settings: Settings, database: Database) -> Iterator[Running]:
    made = Running(stage, run, settings, database)
    try:
        yield made
    finally:
        made.stop()


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stages that hold sockets look up more often, so that their tests need not wait for them."""
    monkeypatch.setattr(sockets, "_TURN_S", 0.02)
    for name, seconds in {"COUNT_S": 0.05, "TURN_S": 0.02, "RENEW_S": 0.2, "_IDLE_S": 0.02}.items():
        monkeypatch.setattr(relay, name, seconds)


def everything(database: Database) -> str:
    """All that a database holds, as text, to look for what must not be there."""
    found = []
    for key in database.keys("*"):
        kind = database.type(key)
        if kind == b"stream":
            found.append(repr(database.xrange(key)))
        elif kind == b"hash":
            found.append(repr(database.hgetall(key)))
        elif kind == b"set":
            found.append(repr(database.smembers(key)))
        elif kind == b"zset":
            found.append(repr(database.zrange(key, 0, -1)))
        else:
            found.append(repr(database.get(key)))
    return repr(database.keys("*")) + "".join(found)
