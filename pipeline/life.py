"""The life of a worker process: signals, name, health endpoints, registration. Every stage is run through here."""

import os
import secrets
import signal
import socket
import threading
import time
from types import FrameType

import orjson
from redis.exceptions import RedisError
from walrus import Database

from pipeline.health import HealthServer
from pipeline.keys import Keys
from pipeline.logs import get_log
from pipeline.settings import Settings
from pipeline.stage import Engine, Stage

HEARTBEAT_S = 2.0
STALE_AFTER_S = 10.0  # a process that has not turned its loop for so long is not ready


class Life:
    """One worker process. A stage loops until ``stop`` is set and calls ``progress`` every time round."""

    def __init__(self, stage: str, settings: Settings, database: Database) -> None:
        self.stage = stage
        self.stop = threading.Event()
        self.consumer = f"{stage}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.keys = Keys(settings.layout, settings.namespace)
        self._settings = settings
        self._database = database
        self._progress_at = time.monotonic()
        self._unready = "starting"
        self._beat_at = 0.0
        self._log = get_log(stage=stage, consumer=self.consumer)
        self._health = HealthServer(settings.host, settings.port, self.fault)

    def __enter__(self) -> "Life":
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
        self._health.start()
        self._log.info("started", pid=os.getpid(), health=self._health.address)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._database.hdel(self.keys.workers(), self.consumer)
        except (RedisError, OSError):
            self._log.warning("could not take itself off the list of workers")
        self._health.close()
        self._log.info("stopped")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.stop.set()

    def fault(self) -> str:
        """Why this process is not ready, in a few words, or an empty string."""
        if time.monotonic() - self._progress_at > STALE_AFTER_S:
            return "no progress"
        return self._unready

    def unready(self, why: str) -> None:
        """Say why this process cannot do its work just now; an empty string when it can again."""
        self._unready = why

    def progress(self) -> None:
        """The loop has come round: keep /readyz green and the registration fresh."""
        now = time.monotonic()
        self._progress_at = now
        if now - self._beat_at < HEARTBEAT_S:
            return
        self._beat_at = now
        record = {
            "stage": self.stage, "host": socket.gethostname(), "pid": os.getpid(),
            "metrics": self._health.address, "heartbeat": int(time.time() * 1000),
        }
        try:
            self._database.hset(self.keys.workers(), self.consumer, orjson.dumps(record))
        except (RedisError, OSError):
            self._unready = "redis"  # the stage's own work says it in the log; here it only turns the light red
        else:
            if self._unready == "redis":
                self._unready = ""


def run_stage(stage: Stage, database: Database, settings: Settings, life: Life) -> None:
    """Run a stage that reads a stream, until the process is told to stop."""
    engine = Engine(stage, database, settings, life.consumer, life.stop)
    engine.on_turn = life.progress
    life.unready("")
    engine.run()
