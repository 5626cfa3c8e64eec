"""How a running `up` is found: a file in its data directory says where everything is, and a lock says that it lives.

The lock decides: the kernel drops it with the process, so a file that a killed `up` left behind is recognised as stale
whatever process has its pid by now.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from pipeline.settings import SettingsError

_PATIENCE_S = 2.0  # somebody who asks whether an `up` runs holds the lock for an instant
_POLL_S = 0.02


class AlreadyRunning(RuntimeError):
    """Another `up` owns the data directory."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a running `up` says of itself. ``redis`` may hold a password: the file is its owner's alone (0600)."""

    redis: str
    provider: str
    simulated: bool
    symbols: tuple[str, ...]
    layout: str
    namespace: str
    pid: int
    started: int
    """Wall time, ms."""
    version: str
    dashboard: str = ""
    """Where the first gateway serves; empty where none was asked for."""
    pids: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replace the file in one step: a reader sees the old one or the new one."""
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123 - the mode
            os.fchmod(file.fileno(), 0o600)
            file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        draft.replace(path)


def read_endpoint(path: Path) -> Endpoint | None:
    """The endpoint of the `up` that runs in the file's directory; None where none does."""
    if not _claimed(path):
        return None
    try:
        record = orjson.loads(path.read_bytes())
        return Endpoint(**{**record, "symbols": tuple(record["symbols"])})
    except FileNotFoundError:
        return None  # it is only just starting or stopping
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{path} cannot be read: {type(error).__name__}") from None


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Own the data directory of this endpoint file; the file is gone afterwards. Raises AlreadyRunning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"MASSIVE_DATA_DIR: cannot use {path.parent}: {error.strerror}") from None
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRunning(f"`marketswarm up` already runs in {path.parent}")
            time.sleep(_POLL_S)
        path.unlink(missing_ok=True)  # left behind by one that was killed
        yield
    finally:
        with suppress(OSError):
            if _try_lock(lock, fcntl.LOCK_EX):
                path.unlink(missing_ok=True)
        os.close(lock)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _claimed(path: Path) -> bool:
    try:
        lock = os.open(_lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
