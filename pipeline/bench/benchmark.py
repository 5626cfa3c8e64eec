"""What a benchmark is, and what it is given to run with."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from walrus import Database

from pipeline.bench.measure import Goal, Result
from pipeline.database import ServerError, connect, server_fault, shown
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings, load_settings

_REWRITE_S = 60.0


def say(line: str) -> None:
    """Progress: on stderr, so that what a program reads is the result alone."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a benchmark runs: an empty database of its own and a folder that is removed afterwards.

    ``seconds`` is about how long one measured piece should take, ``repeats`` how often each is measured.
    """

    redis_url: str
    folder: Path
    seconds: float = 2.0
    repeats: int = 5
    say: Callable[[str], None] = say

    def database(self) -> Database:
        """A client on a connection pool of its own."""
        return connect(self.redis_url)

    def settings(self, **overrides: Any) -> Settings:
        """The environment's, on this server: a MASSIVE_... variable shows what it does to a figure."""
        return load_settings(redis_url=SecretStr(self.redis_url), data_dir=self.folder, port=0, **overrides)

    def fresh(self) -> None:
        """Empty the database, and wait until the server does nothing but this."""
        database = self.database()
        try:
            database.flushdb()
            deadline = time.monotonic() + _REWRITE_S
            while time.monotonic() < deadline:
                persistence = database.info("persistence")
                if not (persistence.get("aof_rewrite_in_progress") or persistence.get("rdb_bgsave_in_progress")):
                    return
                time.sleep(0.05)  # a rewrite of what was flushed would take a core from what is measured next
        finally:
            database.connection_pool.disconnect()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``what`` is measured against which ``yardstick``, one line each. ``goals`` by key of the result's ratios."""

    name: str
    what: str
    yardstick: str
    goals: Mapping[str, Goal]
    run: Callable[[Bench], Result]


@dataclass(frozen=True, slots=True)
class Measured:
    """A benchmark, what it found, and where."""

    benchmark: Benchmark
    result: Result
    environment: Mapping[str, object]

    def record(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {**self.result.record(), "environment": dict(self.environment)}

    def missed(self) -> list[str]:
        """The ratios whose median does not meet its goal."""
        return [
            key for key, goal in self.benchmark.goals.items()
            if key in self.result.ratios and not goal.met_by(self.result.ratios[key].median)
        ]


@contextmanager
def prepared(redis_url: str, seconds: float, repeats: int) -> Iterator[Bench]:
    """A bench on a server of its own, the very one that `up` starts; or, with ``redis_url``, on that one's database.

    Raises ServerError for a server that must not be used, and for a database that is not empty.
    """
    with tempfile.TemporaryDirectory(prefix="marketswarm-bench-") as folder:
        if not redis_url:
            with EmbeddedServer(Path(folder)) as server:
                yield Bench(server.url, Path(folder), seconds, repeats)
            return
        _refuse_unless_empty(redis_url)
        bench = Bench(redis_url, Path(folder), seconds, repeats)
        try:
            yield bench
        finally:
            bench.fresh()


def _refuse_unless_empty(redis_url: str) -> None:
    database = connect(redis_url)
    try:
        if fault := server_fault(database, redis_url):
            raise ServerError(fault)
        if held := database.dbsize():
            raise ServerError(f"the database at {shown(redis_url)} is not empty ({held} keys): a benchmark empties it")
    finally:
        database.connection_pool.disconnect()
