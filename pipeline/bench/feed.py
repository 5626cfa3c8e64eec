"""What runs beside the stages while they are measured, each in a process of its own: who feeds, who reads what is
published, and the bare hops that are the yardstick.

All times are CLOCK_MONOTONIC's, which is one for all processes of a machine, in ns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.database import connect

BLOCK_MS = 500
_COUNT = 256
HEATMAP, GEX, DIFF, END = b"heatmap", b"gex", b"diff", b"end"
_PATIENCE_S = 120.0
"""A process of the load that has seen nothing for so long gives up: whoever began it has died."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An entry and how long after the start it is received, ns."""

    after_ns: int
    stream: str
    fields: dict[str, str | bytes]


def feed(url: str, entries: Sequence[Timed], start_ns: int) -> list[tuple[bytes, int]]:
    """Write each entry when it is due; (id, when it was received) of each.

    The provider does not wait for us, so the time of receipt is the time it is due, however late the server lets it be
    written: frames that wait in the socket stage's backlog are late for whoever looks at the models. What is due
    together is written together, in one transaction, as pipeline.relay does.
    """
    database = connect(url)
    database.ping()
    written: list[tuple[bytes, int]] = []
    at = 0
    while at < len(entries):
        now = time.monotonic_ns()
        if (wait_ns := start_ns + entries[at].after_ns - now) > 0:
            time.sleep(wait_ns / 1e9)
            continue
        pipe = database.pipeline(transaction=True)
        first = at
        while at < len(entries) and start_ns + entries[at].after_ns <= now:
            pipe.xadd(entries[at].stream, entries[at].fields)
            at += 1
        written += [
            (entry_id, start_ns + entry.after_ns)
            for entry_id, entry in zip(pipe.execute(), entries[first:at], strict=True)
        ]
    return written


@dataclass(frozen=True, slots=True)
class Arrived:
    """A diff: its document, the entry and the time (as the entry says it) of the oldest event behind it, and when it
    came, ns. What is deferred names no entry."""

    model: bytes
    origin: bytes
    ts: bytes
    at_ns: int


def read(url: str, stream: str, after: str) -> list[Arrived]:
    """Each diff of the heatmap and of GEX, up to an entry of the kind END."""
    database = connect(url)
    arrived: list[Arrived] = []
    last: bytes | str = after
    heard = time.monotonic()
    while time.monotonic() - heard < _PATIENCE_S:
        reply = database.xread({stream: last}, count=_COUNT, block=BLOCK_MS)
        now = time.monotonic_ns()
        if not reply:
            continue
        heard = time.monotonic()
        ((_, rows),) = reply
        last = rows[-1][0]
        for _, fields in rows:
            if fields[b"kind"] == END:
                return arrived
            if fields[b"kind"] == DIFF and fields[b"model"] in (HEATMAP, GEX):
                arrived.append(Arrived(fields[b"model"], fields[b"origin"], fields.get(b"ts", b""), now))
    raise TimeoutError("nothing was published")


def hop(url: str, source: str, target: str, group: str) -> None:
    """Pass each entry on, small, and acknowledge it: one read and one write to the server a batch, and no work."""
    database = connect(url)
    heard = time.monotonic()
    while time.monotonic() - heard < _PATIENCE_S:
        reply = database.xreadgroup(group, "one", {source: ">"}, count=_COUNT, block=BLOCK_MS)
        if not reply:
            continue
        heard = time.monotonic()
        ((_, rows),) = reply
        ended = False
        with database.pipeline(transaction=False) as pipe:
            for entry_id, fields in rows:
                ended = ended or fields.get(b"kind") == END
                kind = END if ended else DIFF
                pipe.xadd(target, {"model": HEATMAP, "kind": kind, "origin": fields.get(b"origin", entry_id)})
            pipe.xack(source, group, *(entry_id for entry_id, _ in rows))
            pipe.execute()
        if ended:
            return
    raise TimeoutError("nothing came in")
