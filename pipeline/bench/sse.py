"""sse: delivery of publications to 300 clients of one gateway, ten times a second, beside a loop that only writes.

What is published is what the stages made of a market's quotes, recorded once and announced again in each round. Each
announcement is timed from just before its XADD to the arrival of its last byte at each client. The yardstick is an ASGI
application on the same server that holds the very bytes ready and writes them to as many clients at the same pace: no
Redis, no encoding, no queues, no slow clients. Server and clients are processes of their own.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.types import ASGIApp, Receive, Scope, Send

from consumers.calculate import CalculateStage
from consumers.hydrate import HydrateStage
from consumers.models import ModelsStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.hands import Hand
from pipeline.bench.market import Market, open_market, small
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import SYMBOL
from pipeline.database import connect
from pipeline.gateway import hub
from pipeline.gateway.app import Gateway
from pipeline.gateway.asked import SUBSCRIBABLE
from pipeline.gateway.event import GZIP_HEADER, compressed
from pipeline.gateway.hub import Channel, Hub
from pipeline.gateway.reader import Reader
from pipeline.gateway.replays import Replays
from pipeline.gateway.serving import Server, listen
from pipeline.gateway.view import WHOLE
from pipeline.keys import Keys
from pipeline.settings import Settings
from pipeline.stage import Engine

CLIENTS = 300
HZ = 10
QUOTES = 100
"""Quotes behind each publication: a thousand a second."""
_START_S, _CLIENTS_PER_S = 4.0, 50  # until everybody is connected and has its documents
_LAST_S = 2.0  # after the last publication
_PATIENCE_S = 60.0
_MARK = b"\x00\x00\xff\xff"
"""Every compressed event ends with it, and nothing else has it but by a chance of one in four billion a byte."""
_REQUEST = b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"

Fields = dict[bytes, bytes]
Times = list[float]


# --- what is published ---
def record(market: Market, ticks: int) -> list[list[Fields]]:
    """The entries that the stages made of so many moments."""
    stages = (HydrateStage, CalculateStage, ModelsStage)
    engines = [
        Engine(stage(market.settings, market.database), market.database, market.settings, f"bench-{stage.name}")
        for stage in stages
    ]
    _settle(engines)
    recorded: list[list[Fields]] = []
    stream, database = market.stream("model"), market.database
    for frame in market.tape.frames(ticks, QUOTES, 1000 / HZ):
        last = database.xrevrange(stream, count=1)[0][0].decode()
        database.xadd(market.stream("ws"), {"ts": int(time.time() * 1000), "payload": frame, "symbol": SYMBOL})
        _settle(engines)
        recorded.append([fields for _, fields in database.xrange(stream, f"({last}")])
    return [tick for tick in recorded if tick]


def _settle(engines: Sequence[Engine]) -> None:
    while sum(engine.step() for engine in engines):
        pass


def pieces_of(market: Market, recorded: list[list[Fields]]) -> list[bytes]:
    """What the gateway writes for each moment, to a client that takes everything."""
    channel = Channel(frozenset((SYMBOL,)), frozenset(SUBSCRIBABLE), WHOLE, gzip=True)
    reader = Reader(partial(connect, _url(market.settings)), market.keys, (SYMBOL,))
    reader.begin_since(0.0)
    made = []
    try:
        reader.read(None)  # what was recorded last
        for tick in recorded:
            _announce(market, tick)
            made.append(channel.piece(reader.read(None)))
    finally:
        reader.close()
    return made


def _announce(market: Market, tick: list[Fields]) -> None:
    with market.database.pipeline(transaction=True) as pipeline:  # at once, as publish.lua does
        for fields in tick:
            pipeline.xadd(market.stream("model"), fields)
        pipeline.execute()


def _url(settings: Settings) -> str:
    return settings.redis_url.get_secret_value()


# --- the servers, each in a process of its own ---
def gateway_cpu_s(settings: Settings, port: int, begin_at: float, end_at: float) -> float:
    """Serve as the stage does, and answer what it cost from the one to the other."""
    hub.HEARTBEAT_S = 3600.0  # the yardstick has none
    opened = partial(connect, _url(settings))

    async def serve() -> float:
        hubbed = Hub(opened, _keys(settings), settings.symbols, settings.model_retention_s)
        hubbed.start()
        replays = Replays(opened, settings, _keys(settings))
        try:
            return await _served(Gateway(hubbed, replays, settings, str).app(), settings, port, begin_at, end_at)
        finally:
            hubbed.close()
            await replays.close()

    return asyncio.run(serve())


def writer_cpu_s(
    settings: Settings, port: int, begin_at: float, end_at: float, pieces: list[bytes], moments: Times
) -> float:
    """The yardstick, and what it cost."""

    async def serve() -> float:
        turn, at = asyncio.Event(), -1

        async def write(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"content-encoding", b"gzip")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": GZIP_HEADER + compressed(b"\n"), "more_body": True})
            with suppress(asyncio.CancelledError):  # as the end is
                while True:
                    await turn.wait()
                    await send({"type": "http.response.body", "body": pieces[at], "more_body": True})

        async def tick() -> None:
            nonlocal turn, at
            for number, moment in enumerate(moments):
                await _until(moment)
                over, turn, at = turn, asyncio.Event(), number
                over.set()

        ticking = asyncio.create_task(tick())
        try:
            return await _served(write, settings, port, begin_at, end_at)
        finally:
            ticking.cancel()

    return asyncio.run(serve())


async def _served(app: ASGIApp, settings: Settings, port: int, begin_at: float, end_at: float) -> float:
    with listen(settings.host, port) as listener:
        server = Server(app, listener)
        serving = asyncio.create_task(server.serve())
        await _until(begin_at)
        began = time.process_time()
        await _until(end_at)
        cost = time.process_time() - began
        server.should_exit = server.force_exit = True
        await serving
        return cost


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))


def _keys(settings: Settings) -> Keys:
    return Keys(settings.layout, settings.namespace)


# --- the clients, in one process ---
class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.marks = 0
        self.seen: list[tuple[int, float]] = []
        """How many events had come by then."""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(_REQUEST)  # type: ignore[attr-defined]

    def data_received(self, text: bytes) -> None:
        now = time.time()
        text = self._tail + text
        found = text.count(_MARK)
        self._tail = text[-3:] if not text.endswith(_MARK) else b""
        if found:
            self.marks += found
            self.seen.append((self.marks, now))


def arrivals(port: int, clients: int, begin_at: float, end_at: float, counts: list[int]) -> list[Times]:
    """When each moment's last event had come, of each client. Raises BenchError where one is late at the start."""

    async def listen_in() -> list[Times]:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(_await_port, port)
        opened = [await loop.create_connection(_Client, "127.0.0.1", port) for _ in range(clients)]
        await _until(begin_at)
        bases = [client.marks for _, client in opened]
        if not all(bases):
            raise BenchError(f"{bases.count(0)} of {clients} clients were not served in time")
        await _until(end_at)
        for transport, _ in opened:
            transport.abort()
        return [_moments(client.seen, base, counts) for (_, client), base in zip(opened, bases, strict=True)]

    return asyncio.run(listen_in())


def _moments(seen: list[tuple[int, float]], base: int, counts: list[int]) -> Times:
    found, due, later = [], base, iter(seen)
    marks, at = 0, 0.0
    for count in counts:
        due += count
        while marks < due:
            marks, at = next(later, (-1, 0.0))
            if marks < 0:
                raise BenchError("a client was not told everything")
        found.append(at)
    return found


def _await_port(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as probe, suppress(OSError):
            probe.connect(("127.0.0.1", port))
            return
    raise BenchError("the server does not listen")


# --- measuring ---
Measured = tuple[NDArray[np.float64], float]
"""Milliseconds from each moment to its arrival, [clients, moments]; CPU seconds."""


def _round(
    server: Hand, clients: Hand, counts: list[int], serve: Callable[..., float],
    arguments: Callable[[Times], list[Any]],
    settings: Settings, announce: Callable[[int], None],
) -> Measured:
    port, begin_at = _free_port(), time.time() + _START_S + CLIENTS / _CLIENTS_PER_S
    moments = [begin_at + (number + 1) / HZ for number in range(len(counts))]
    end_at = moments[-1] + _LAST_S
    server.begin(serve, settings, port, begin_at, end_at, *arguments(moments))
    clients.begin(arrivals, port, CLIENTS, begin_at, end_at, counts)
    for number, moment in enumerate(moments):
        time.sleep(max(0.0, moment - time.time()))
        moments[number] = time.time()
        announce(number)
    patience_s = _PATIENCE_S + _LAST_S
    arrived = np.array(clients.result(patience_s))
    return (arrived - np.array(moments)) * 1000, server.result(patience_s)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(bench: Bench) -> Result:
    market = open_market(bench, small())
    bench.say("sse: recording what is published")
    recorded = record(market, max(3, round(HZ * bench.seconds)))
    pieces, counts = pieces_of(market, recorded), [len(tick) for tick in recorded]
    settings = market.settings.model_copy(update={"gateway_clients_per_address": 100_000})
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        server, clients = stack.enter_context(Hand()), stack.enter_context(Hand())
        for hand in (server, clients):
            hand.begin(_free_port)  # so that what it imports is there before the clock runs
            hand.result(_PATIENCE_S)
        turns: dict[str, Callable[[], Measured]] = {
            "gateway": lambda: _round(
                server, clients, counts, gateway_cpu_s, lambda moments: [], settings,
                lambda number: _announce(market, recorded[number]),
            ),
            "writer": lambda: _round(
                server, clients, counts, writer_cpu_s, lambda moments: [pieces, moments], settings, lambda number: None
            ),
        }
        for _ in range(bench.repeats):
            for name, measure in turns.items():
                ms, cpu_s = measure()
                for key, value in (("p50", np.median(ms)), ("p99", np.quantile(ms, 0.99)),
                                   ("cpu", cpu_s * 1000 / len(counts))):
                    figures.setdefault(f"{name}_{key}", []).append(float(value))
    units = {"cpu": "ms CPU a moment"}
    samples = {key: Sample(tuple(of), units.get(key.split("_")[1], "ms")) for key, of in figures.items()}
    samples["bytes"] = Sample((sum(map(len, pieces)) / len(pieces),), "B a moment and client")
    samples["events"] = Sample((sum(counts) / len(counts),), "a moment")
    pairs = {key: (f"gateway_{key}", f"writer_{key}") for key in ("p50", "p99", "cpu")}
    ratios = {key: ratio(samples[ours], samples[theirs]) for key, (ours, theirs) in pairs.items()}
    return Result("sse", samples, ratios, pairs)


BENCHMARK = Benchmark(
    "sse",
    f"delivery of publications to {CLIENTS} clients of one gateway, {HZ} times a second, and its CPU",
    "an ASGI loop on the same server that writes the same bytes to as many clients",
    {"p99": Goal(at_most=1.5), "cpu": Goal(at_most=1.5)},
    run,
)
