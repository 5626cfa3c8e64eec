"""Structured logs: one line an event, none a tick. Key=value on a terminal, JSON with MASSIVE_LOG=json."""

import logging
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

import structlog

Log = structlog.stdlib.BoundLogger


def configure_logs() -> None:
    as_json = os.environ.get("MASSIVE_LOG", "").lower() == "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_log(**bound: Any) -> Log:
    log: Log = structlog.get_logger(**bound)
    return log


class Outage:
    """Says once that something broke and once that it healed, with the downtime; quiet in between. Threads share it."""

    def __init__(self, log: Log, what: str) -> None:
        self._log = log
        self._what = what
        self._since: float | None = None
        self._lock = threading.Lock()

    @property
    def broken(self) -> bool:
        return self._since is not None

    def broke(self, why: str, **facts: Any) -> None:
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                self._log.warning(f"{self._what} broke", why=why, **facts)

    def healed(self, **facts: Any) -> None:
        with self._lock:
            if self._since is not None:
                self._log.info(f"{self._what} healed", down_s=round(time.monotonic() - self._since, 3), **facts)
                self._since = None

    def __enter__(self) -> "Outage":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.healed()
