"""The simulated provider as a server: one port for REST and sockets, in a thread of its own."""

import asyncio
import logging
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import uvicorn

from pipeline.cboe import CboeChain, read_chain
from pipeline.simulator.clock import SessionClock, regular_moment, to_ns
from pipeline.simulator.connection import Connection
from pipeline.simulator.event import Event, value_event
from pipeline.simulator.fault import Fault, FaultBoard, parse_fault
from pipeline.simulator.hub import Hub
from pipeline.simulator.market import STEP_NS, Market
from pipeline.simulator.playback import Playback
from pipeline.simulator.rest import Api
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.spot import RecordedPath
from pipeline.simulator.synthetic import synthetic_chain

_START_WAIT_S = 30.0
_DEFAULT_SYMBOLS = ("SPX", "NDX")

Answer = TypeVar("Answer")


class SimulatorError(RuntimeError):
    """The simulator could not start; the message says why."""


def build_market(settings: SimulatorSettings) -> tuple[Market, datetime]:
    """The market of a session and the moment it starts at.

    Raises CboeFileError, SpotPathError or OSError for a file that cannot be read, ValueError for an unknown symbol.
    """
    recorded = read_chain(settings.chain, settings.chain_spot) if settings.chain is not None else None
    start = settings.clock or (recorded.quote_time if recorded is not None else regular_moment(datetime.now(UTC)))
    start_ns = to_ns(start)
    path = RecordedPath(settings.spot_path, start_ns) if settings.spot_path is not None else None
    chains: list[CboeChain] = [recorded] if recorded is not None else []
    symbols = settings.symbols or (() if chains else _DEFAULT_SYMBOLS)
    for symbol in dict.fromkeys(symbols):
        if symbol not in [chain.symbol for chain in chains]:
            # A path that covers the session is where the first underlying is.
            spot = path.start if path is not None and path.covers and not chains else None
            chains.append(synthetic_chain(symbol, start_ns, settings.seed, spot))
    # At speed 0 steps are taken only by hand, and then at the pace of speed 1.
    step_ns = round(STEP_NS * (settings.clock_speed or 1.0))
    return Market(chains, start_ns, step_ns, settings.rate, settings.seed, path), start


def _played(playback: Playback, settings: SimulatorSettings) -> tuple[Market, datetime]:
    """A still market that lists what the session ever lists: its rows and events are the session's."""
    step_ns = round(STEP_NS * (settings.clock_speed or 1.0))
    return Market([playback.chain()], to_ns(playback.start), step_ns, 0.0, settings.seed, None), playback.start


class Simulator:
    """A running session. Use as a context manager; every method may be called from any thread while it runs."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.faults = FaultBoard(settings.faults, settings.seed)
        self.playback = None if settings.session is None else Playback(settings.session)
        self.market, self.start = _played(self.playback, settings) if self.playback else build_market(settings)
        self.port = 0
        self._clock = SessionClock(self.start, settings.clock_speed)
        self._hub = Hub(settings, self.market, self._clock, self.faults, self.playback)
        self._api = Api(self.market, self._clock, self.faults, settings.keys, settings.seed, self.playback)
        self._loop: asyncio.AbstractEventLoop
        self._server: uvicorn.Server
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        listener = socket.create_server((self.settings.host, self.settings.port), reuse_port=False)
        self.port = int(listener.getsockname()[1])
        # Session time starts when somebody can look at it.
        self._clock.restart()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_WAIT_S) or self._failure is not None:
            raise SimulatorError(f"the simulator did not start: {self._failure or 'no answer in time'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_START_WAIT_S)

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except Exception as error:  # told to the thread that waits for the start
            self._failure = error
            self._ready.set()
            raise

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        # A page broken off on purpose is not news.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            self._api.app(),
            ws=cast(Any, self._connection),
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        pace = asyncio.create_task(self._hub.run(STEP_NS / 1e9))
        self._loop.call_soon(self._ready.set)
        try:
            await self._server.serve(sockets=[listener])
        finally:
            pace.cancel()

    def _connection(self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any]) -> Connection:
        return Connection(self._hub, server_state.connections)

    def _call(self, act: Callable[[], Answer]) -> Answer:
        """Do this on the server's loop and wait for the answer."""

        async def acted() -> Answer:
            return act()

        return asyncio.run_coroutine_threadsafe(acted(), self._loop).result(_START_WAIT_S)

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        """Without the cluster's path: append ``/options`` or ``/indices``."""
        return f"ws://{self.settings.host}:{self.port}"

    @property
    def requests(self) -> Counter[str]:
        """REST requests so far by path, the variable parts in braces."""
        return self._call(lambda: Counter(self._api.requests))

    @property
    def connections(self) -> int:
        """Sockets open now."""
        return self._call(lambda: len(self._hub.connections))

    @property
    def accepted(self) -> int:
        """Sockets ever opened."""
        return self._call(lambda: self._hub.accepted)

    @property
    def frames_sent(self) -> int:
        """Event frames sent, pushed ones not counted."""
        return self._call(lambda: self._hub.frames_sent)

    @property
    def now_ns(self) -> int:
        """Session time."""
        return self._clock.now_ns()

    def subscriptions(self, cluster: str) -> list[frozenset[str]]:
        """Topics held now, one set a connection, oldest first."""
        return self._call(lambda: [c.topics for c in self._hub.connections if c.cluster == cluster])

    def inject(self, fault: Fault | str) -> None:
        """Switch a fault on; text as on the command line."""
        chosen = parse_fault(fault) if isinstance(fault, str) else fault
        self._call(lambda: self.faults.inject(chosen))

    def clear(self, fault: Fault | str | None = None) -> None:
        """Switch a fault off by name, or all."""
        name = fault.name if isinstance(fault, Fault) else fault.partition(":")[0] if fault is not None else None
        self._call(lambda: self.faults.clear(name))

    def push(self, cluster: str, frame: list[Event] | bytes | str) -> int:
        """Send one frame now. Events go to the connections subscribed to any of them, text or bytes go as they are to
        all authenticated ones. The market does not change. Returns how many connections were sent something."""
        content = frame.encode() if isinstance(frame, str) else frame
        return self._call(lambda: self._hub.push(cluster, content))

    def advance(self, seconds: float) -> None:
        """Add session time at once and send all that happens in it, before returning."""

        def move() -> None:
            self._clock.advance(seconds)
            self._hub.catch_up()

        self._call(move)

    def place_spot(self, symbol: str, value: float) -> None:
        """Move an underlying by hand and tell the subscribers of its value."""

        def move() -> None:
            number, t_ms, placed = self.market.place_spot(symbol, value)
            self._hub.push("indices", [value_event(self.market.index_ticker(number), t_ms, placed)])

        self._call(move)

    def drop_connections(self) -> None:
        """Cut every socket now, without a close frame."""

        def cut() -> None:
            for connection in list(self._hub.connections):
                connection.cut()

        self._call(cut)


def run(settings: SimulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line when ready. Call it in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Simulator(settings) as simulator:
        print(f"simulator listening on {simulator.url}", flush=True)  # noqa: T201
        stop.wait()
