"""The life of a worker process: signals, name, health endpoints, registration. Every stage is run through here.

Health is progress. /readyz says whether the process does its work; /healthz is red only where the process itself no
longer gets on while the server answers, which a restart may mend. One that stays so ends itself: whoever manages
processes starts it again.
"""

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import orjson
from redis.exceptions import RedisError
from walrus import Database

from pipeline import metrics
from pipeline.database import answers, check_one_node
from pipeline.health import HealthServer
from pipeline.keys import Keys
from pipeline.logs import get_log
from pipeline.settings import Settings
from pipeline.stage import Engine, Stage

HEARTBEAT_S = 2.0
STALE_AFTER_S = 8.0  # a process that has not turned its loop for so long is not ready
STUCK_S = 30.0  # one that does not get on for so long ends itself
STUCK_STATUS = 70
LATENCY_WINDOW_MS = 3_600_000
_LOOK_S = 1.0
_SOURCES = {"socket": "ws"}  # a stage whose counters have another name than its own


class Life:
    """One worker process. A stage loops until ``stop`` is set and calls ``progress`` every time round."""

    def __init__(self, stage: str, settings: Settings, database: Database) -> None:
        self.stage = stage
        self.stop = threading.Event()
        self.consumer = f"{stage}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.keys = Keys(settings.layout, settings.namespace)
        self._settings = settings
        self._database = database
        self._engine: Engine | None = None
        self._progress_at = time.monotonic()
        self._unready = "starting"
        self._fails = ""
        self._fails_since = 0.0
        self._stuck = ""
        self._lag = 0
        self._worst_s: float | None = None
        self._beat_at = 0.0
        self._log = get_log(stage=stage, consumer=self.consumer)
        self._health = HealthServer(settings.host, settings.port, self.fault, self.stuck)

    def __enter__(self) -> "Life":
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
        metrics.begin(self.stage)
        metrics.READY.set_function(lambda: not self.fault())
        self._health.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        _notify("READY=1")
        self._log.info("started", pid=os.getpid(), health=self._health.address)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        try:
            self._database.hdel(self.keys.workers(), self.consumer)
        except (RedisError, OSError):
            self._log.warning("could not take itself off the list of workers")
        self._health.close()
        self._log.info("stopped")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.stop.set()

    # --- what the stage says ---
    def unready(self, why: str) -> None:
        """Say why this process cannot do its work just now; an empty string when it can again."""
        self._unready = why

    def fails(self, why: str) -> None:
        """Say what this process does wrong by itself, again and again; an empty string when it does no longer."""
        if why and not self._fails:
            self._fails_since = time.monotonic()
        self._fails = why

    def note_latency(self, latency_s: float) -> None:
        """How long something took to its commit; the longest is kept in the window of the source's latencies."""
        self._worst_s = max(latency_s, self._worst_s or 0.0)

    def serve(self, path: str, document: Callable[[], bytes]) -> str:
        """Serve a JSON document beside the health endpoints; its address."""
        self._health.documents[path] = document
        return self._health.address + path

    def work(self, engine: Engine) -> None:
        """The engine whose progress is this process's."""
        engine.on_turn = self.progress
        self._engine = engine
        self.unready("")

    # --- what others are told ---
    def fault(self) -> str:
        """Why this process is not ready, in a few words, or an empty string."""
        engine_fault = self._engine.fault() if self._engine else ""
        if engine_fault:
            return engine_fault
        if time.monotonic() - self._progress_at > STALE_AFTER_S:
            return "no progress"
        if self._unready or self._fails:
            return self._unready or f"fails: {self._fails}"
        if self._lag > self._settings.lag_limit:
            return f"{self._lag} entries behind"
        return ""

    def stuck(self) -> str:
        """Why this process should be started again, or an empty string."""
        return self._stuck

    def _standing(self) -> str:
        """What keeps this process from getting on, unless it is the server that is away."""
        if self._engine is not None:
            if self._engine.away():
                return ""
            if fault := self._engine.fault():
                return fault
        now = time.monotonic()
        if now - self._progress_at > STALE_AFTER_S:
            return "no progress"
        return f"fails: {self._fails}" if self._fails and now - self._fails_since > STALE_AFTER_S else ""

    def _watch(self) -> None:
        """A thread of its own: end the process that does not get on, and pat systemd's watchdog while it does."""
        since = pat_at = 0.0
        while not self.stop.wait(_LOOK_S):
            now = time.monotonic()
            standing = self._standing()
            if standing and not answers(self._database):
                standing = ""
            if standing and not self._stuck:
                since = now
                self._log.warning("does not get on", why=standing)
            self._stuck = standing
            if standing and now - since > STUCK_S:
                self._log.error("ends, to be started again", why=standing)
                os._exit(STUCK_STATUS)
            if not standing and now - pat_at >= HEARTBEAT_S:
                pat_at = now
                _notify("WATCHDOG=1")

    # --- the loop ---
    def progress(self) -> None:
        """The loop has come round: keep /readyz green and the registration fresh."""
        now = time.monotonic()
        self._progress_at = now
        if now - self._beat_at < HEARTBEAT_S:
            return
        self._beat_at = now
        try:
            self._beat(int(time.time() * 1000))
        except (RedisError, OSError):
            self._unready = "redis"  # the stage's own work says it in the log; here it only turns the light red
        else:
            if self._unready == "redis":
                self._unready = ""

    def _beat(self, now_ms: int) -> None:
        record = {
            "stage": self.stage, "host": socket.gethostname(), "pid": os.getpid(),
            "metrics": self._health.address, "heartbeat": now_ms,
        }
        self._database.hset(self.keys.workers(), self.consumer, orjson.dumps(record))
        if self._engine is not None:
            self._lag = self._engine.lag()
            worst_s = self._engine.take_latency()
        else:
            worst_s, self._worst_s = self._worst_s, None
        if worst_s is not None:
            window = self.keys.latency(_SOURCES.get(self.stage, self.stage))
            self._database.zadd(window, {f"{now_ms}:{self.consumer}:{worst_s * 1000:.0f}": now_ms})
            self._database.zremrangebyscore(window, "-inf", now_ms - LATENCY_WINDOW_MS)


def _notify(state: str) -> None:
    """Tell systemd, where it has started this process and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        try:
            to.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return  # nobody listens: then nobody waits


def run_stage(stage: Stage, database: Database, settings: Settings, life: Life) -> None:
    """Run a stage that reads a stream, until the process is told to stop. Raises ServerError: see check_one_node."""
    if settings.layout == "tagged":
        check_one_node(database, stage.streams())
    engine = Engine(stage, database, settings, life.consumer, life.stop)
    life.work(engine)
    engine.run()
