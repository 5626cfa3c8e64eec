"""The stages as processes, as `up` starts them: `marketswarm worker STAGE`, on the benchmark's server."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from walrus import Database

from pipeline import tether
from pipeline.bench.benchmark import Bench
from pipeline.bench.measure import BenchError
from pipeline.keys import Keys
from pipeline.settings import Settings

_START_S = 30.0
_LEAVE_S = 15.0
_POLL_S = 0.02
WORK = (("ws", "hydrate"), ("spot", "hydrate"), ("dirty", "calculate"), ("diff", "models"))
"""The streams from a quote to its diff, and who reads them."""


@dataclass(slots=True)
class Workers:
    """Running processes, by name: ``hydrate-1``; each has a log of that name in ``folder``."""

    folder: Path
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    def check(self) -> None:
        """Raises BenchError where one has died."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                lines = log.strip().splitlines() or ["it said nothing"]
                raise BenchError(f"{name} ended with status {process.returncode}: {lines[-1][:200]}")


@contextmanager
def workers(bench: Bench, settings: Settings, scale: Mapping[str, int], **variables: str) -> Iterator[Workers]:
    """So many processes of each stage, ready when this begins and gone when it ends. ``variables`` are settings."""
    keys, database = Keys(settings.layout, settings.namespace), bench.database()
    running = Workers(bench.folder)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PORT"},
        "REDIS_URL": bench.redis_url, "MASSIVE_DATA_DIR": str(bench.folder), "MASSIVE_LOG": "",
        "MASSIVE_SYMBOLS": ",".join(settings.symbols), "MASSIVE_SCOPE": settings.scope,
        "MASSIVE_GREEKS_INTERVAL_S": str(settings.greeks_interval_s), tether.VARIABLE: "0",
        **variables,
    }
    try:
        for stage, number in scale.items():
            for one in range(1, number + 1):
                running.processes[f"{stage}-{one}"] = _start(stage, bench.folder / f"{stage}-{one}.log", environment)
        _await_ready(database, keys, running)
        yield running
    finally:
        _end(running)
        database.connection_pool.disconnect()


def _start(stage: str, log: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Its standard input is its tether: should this process die, the worker ends as well."""
    with log.open("wb") as written:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "worker", stage], stdin=subprocess.PIPE, stdout=written,
            stderr=written, env=environment,
        )


def _await_ready(database: Database, keys: Keys, running: Workers) -> None:
    """Each has turned its loop once: it is registered then."""
    wanted = {process.pid for process in running.processes.values()}
    deadline = time.monotonic() + _START_S
    while not wanted <= {int(orjson.loads(record)["pid"]) for record in database.hvals(keys.workers())}:
        running.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the stages are not ready after {_START_S:.0f} s")
        time.sleep(_POLL_S)


def _end(running: Workers) -> None:
    for process in running.processes.values():
        process.terminate()
    for process in running.processes.values():
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def await_rest(
    database: Database, keys: Keys, symbol: str, running: Workers, patience_s: float,
    stages: frozenset[str] = frozenset({"hydrate", "calculate", "models"}), poll_s: float = _POLL_S,
) -> None:
    """Until these stages have done all there is. Raises BenchError where they do not come to rest."""
    streams = [(keys.stream(noun, symbol), stage) for noun, stage in WORK if stage in stages]
    deadline = time.monotonic() + patience_s
    while not _at_rest(database, streams):
        running.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the stages did not come to rest within {patience_s:.0f} s")
        time.sleep(poll_s)


def _at_rest(database: Database, streams: list[tuple[str, str]]) -> bool:
    """One look at one instant: what leaves one stream appears in the next in the same instant."""
    pipe = database.pipeline(transaction=True)
    for stream, _ in streams:
        pipe.xinfo_stream(stream)
        pipe.xinfo_groups(stream)
    replies = pipe.execute()
    for (_, stage), stream, groups in zip(streams, replies[::2], replies[1::2], strict=True):
        (group,) = (row for row in groups if row["name"] == stage.encode())
        if group["pending"] or group["last-delivered-id"] != stream["last-generated-id"]:
            return False
    return True
