"""Running a peer: fill its queue, start its worker, and see when the first and the last job passed on what it made."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO

from walrus import Database

from pipeline import tether
from pipeline.bench.benchmark import Bench
from pipeline.bench.measure import BenchError
from pipeline.bench.peers.hop import NEXT, TOTALS, sum_of

_FILL_S = 120.0
_STALL_S = 20.0
"""A worker that does nothing for so long is given up."""
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Peer:
    """``name`` is its module here, ``library`` what it needs. ``a_second``: jobs to queue for each second that it is to
    run, about what it does; ``batched`` where it takes many jobs a call."""

    name: str
    library: str
    a_second: int
    batched: bool = False

    @property
    def installed(self) -> bool:
        return find_spec(self.library) is not None


PEERS = (
    Peer("docket", "docket", 1500),
    Peer("faststream", "faststream", 1500),
    Peer("faststream_batch", "faststream", 20_000, batched=True),
    Peer("taskiq", "taskiq_redis", 1500),
    Peer("arq", "arq", 800),
    Peer("celery", "celery", 800),
)


def jobs_per_s(peer: Peer, bench: Bench, database: Database) -> float:
    """From the first to the last job passed on, on the server's clock: starting the worker does not count.

    Raises BenchError unless every job was done once.
    """
    bench.fresh()
    entries = max(100, int(bench.seconds * peer.a_second))
    _fill(peer, bench, entries)
    with (bench.folder / f"{peer.name}.log").open("w+b") as log:
        worker = _start(peer, bench, log)
        try:
            _await(peer, worker, database, entries, log)
        finally:
            worker.kill()
            worker.wait()
            if worker.stdin is not None:
                worker.stdin.close()
    check(peer.name, database, entries)
    (first, _), (last, _) = database.xrange(NEXT, count=1)[0], database.xrevrange(NEXT, count=1)[0]
    return (entries - 1) / max(_ms(last) - _ms(first), 1) * 1000.0


def check(name: str, database: Database, entries: int) -> None:
    """Raises BenchError unless each of so many jobs was done once, and passed on once."""
    passed, total, right = database.xlen(NEXT), sum(int(of) for of in database.hvals(TOTALS)), sum_of(entries)
    if (passed, total) != (entries, right):
        raise BenchError(f"{name} passed on {passed} of {entries} jobs, and their sum is {total}, not {right}")


def _words(peer: Peer, part: str, bench: Bench) -> list[str]:
    return [sys.executable, "-m", "pipeline.bench.peers", peer.name, part, bench.redis_url]


def _fill(peer: Peer, bench: Bench, entries: int) -> None:
    done = subprocess.run(
        [*_words(peer, "fill", bench), str(entries)], capture_output=True, text=True, timeout=_FILL_S, check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise BenchError(f"{peer.name} cannot queue jobs: {(done.stderr.splitlines() or ['it said nothing'])[-1]}")


def _start(peer: Peer, bench: Bench, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Its standard input is its tether: should this process die, the worker ends as well."""
    return subprocess.Popen(
        _words(peer, "work", bench), stdin=subprocess.PIPE, stdout=log, stderr=log,
        env={**os.environ, tether.VARIABLE: "0"},
    )


def _await(
    peer: Peer, worker: "subprocess.Popen[bytes]", database: Database, entries: int, log: IO[bytes]
) -> None:
    done, moved = 0, time.monotonic()
    while done < entries:
        if worker.poll() is not None or time.monotonic() - moved > _STALL_S:
            log.seek(0)
            said = (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise BenchError(f"{peer.name} did {done} of {entries} jobs and went no further: {said}")
        time.sleep(_POLL_S)
        now = database.xlen(NEXT)
        if now != done:
            done, moved = now, time.monotonic()


def _ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
