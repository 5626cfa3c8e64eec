"""What a stage said while it was being tried: one line when something broke, one when it healed, and never the key."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

KEY = "S3CR3T-marked-key-0123456789"
"""The provider's key in tests: it may appear nowhere."""


class Said:
    def __init__(self, lines: list[MutableMapping[str, Any]]) -> None:
        self.lines = lines

    def of(self, what: str) -> list[str]:
        """The events about one thing, in order: ``broke`` and ``healed``, or whole sentences."""
        return [line["event"].removeprefix(what).strip() for line in self.lines if line["event"].startswith(what)]

    def why(self, what: str) -> str:
        """The reason given when it broke."""
        return str(next(line["why"] for line in self.lines if line["event"] == f"{what} broke"))

    @property
    def text(self) -> str:
        return "\n".join(repr(line) for line in self.lines)


@contextmanager
def listening() -> Iterator[Said]:
    with structlog.testing.capture_logs() as lines:
        yield Said(lines)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What libraries logged while the test ran, down to DEBUG, but for the provider and its other clients."""
    records = [record for record in caplog.get_records("call") if not record.name.startswith("websockets.")]
    return "\n".join(f"{record.name} {record.getMessage()} {record.exc_info}" for record in records)
