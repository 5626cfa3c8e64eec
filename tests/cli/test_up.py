"""The whole of it, as a stranger runs it: versions rise, a killed worker comes back, and nothing is left at the end."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from pipeline.server import EmbeddedServer
from tests.cli.run import COMMAND, ROOT, environment, marketswarm, refused
from tests.waiting import wait_until


class Up:
    """A running `marketswarm up`, its output in a file so that a failing test can show it."""

    def __init__(self, data_dir: Path, *words: str, **variables: str) -> None:
        self.data_dir = data_dir
        self.log = data_dir.parent / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--data-dir", str(data_dir), *words], env=environment(**variables), cwd=ROOT,
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def endpoint(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.data_dir / "running.json").read_bytes())
            return found
        return {}

    def status(self) -> dict[str, Any]:
        answer = marketswarm("status", "--json", "--data-dir", str(self.data_dir))
        if answer.returncode:
            return {}
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def versions(self) -> dict[str, int]:
        """Of the heatmap and gex models, by ``SYMBOL model``."""
        models = self.status().get("models", {})
        return {
            f"{symbol} {model}": row["version"]
            for symbol, rows in models.items() for model, row in rows.items() if model in {"heatmap", "gex"}
        }

    def await_rise(self, above: dict[str, int], timeout: float) -> dict[str, int]:
        """Until SPX and NDX have newer versions of both models than these."""
        wanted = [f"{symbol} {model}" for symbol in ("SPX", "NDX") for model in ("heatmap", "gex")]
        found: dict[str, int] = {}

        def risen() -> bool:
            found.update(self.versions())
            return all(found.get(name, 0) > above.get(name, 0) for name in wanted)

        try:
            wait_until(risen, f"versions above {above}", timeout, every=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}; found {found}\n{self.said[-6000:]}") from None
        return found

    def end(self) -> None:
        """Whatever it takes, for the end of a test that may have failed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:
    up = Up(data_dir)
    yield up
    up.end()


def all_gone(family: list[psutil.Process]) -> bool:
    return not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def workers_run(up: Up) -> bool:
    """Of this very process: the file of one that was killed says the same until its successor takes it away."""
    endpoint = up.endpoint()
    running = {"chain.1", "hydrate.1", "calculate.1", "models.1", "redis"} <= set(endpoint.get("pids", {}))
    return running and endpoint.get("pid") == up.process.pid


@pytest.mark.timeout(240)
def test_versions_rise_survive_a_kill_and_leave_nothing(up: Up) -> None:
    first = up.await_rise({}, 60)
    second = up.await_rise(first, 30)

    victim = up.endpoint()["pids"]["calculate.1"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: up.endpoint()["pids"].get("calculate.1", victim) != victim, "the restart")
    up.await_rise(second, 45)
    assert "calculate.1 was killed by SIGKILL; started again in" in up.said

    record = up.status()
    assert record["dead"] == 0
    assert record["drift"] == 0
    assert redis.Redis.from_url(record["redis"]).ping(), "the address that status names can be used as it is"

    family = up.family()
    assert len(family) >= 10, "the server, the provider and eight stages"
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0, up.said[-3000:]
    assert all_gone(family)
    assert not (up.data_dir / "running.json").exists()


def test_only_its_owner_learns_the_way_to_it(up: Up) -> None:
    wait_until(lambda: workers_run(up), "the endpoint file", 60)
    assert (up.data_dir / "running.json").stat().st_mode & 0o777 == 0o600
    listed = " ".join(" ".join(process.cmdline()) for process in up.family())
    assert up.endpoint()["redis"].split(":")[2].split("@")[0] not in listed


def test_a_second_up_in_the_same_directory_is_refused(up: Up, data_dir: Path) -> None:
    wait_until(lambda: workers_run(up), "the first", 60)
    assert refused(marketswarm("up", "--data-dir", str(data_dir))) == f"`marketswarm up` already runs in {data_dir}"
    assert up.process.poll() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the server alone outlives a killed up")
def test_a_killed_up_leaves_no_process_and_can_be_started_again(up: Up, data_dir: Path) -> None:
    wait_until(lambda: workers_run(up), "it to run", 60)
    family = up.family()
    up.process.kill()
    up.process.wait()
    wait_until(lambda: all_gone(family), "its processes to notice", 30)
    assert (data_dir / "running.json").exists(), "nobody was there to take it away"
    assert refused(marketswarm("status", "--data-dir", str(data_dir)), 1).startswith("nothing runs in")
    again = Up(data_dir)
    try:
        wait_until(lambda: workers_run(again), "the second", 60)
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(30) == 0


def test_a_server_that_crashes_is_started_again_on_its_files(up: Up) -> None:
    wait_until(lambda: workers_run(up), "it to run", 60)
    pid = up.endpoint()["pids"]["redis"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: up.endpoint()["pids"].get("redis", pid) != pid, "another server", 30)
    wait_until(up.status, "it to answer", 30)
    assert "redis ended; started again on its files" in up.said


def test_an_end_while_it_is_still_starting_leaves_nothing(data_dir: Path) -> None:
    up = Up(data_dir)
    wait_until(lambda: "redis at" in up.said, "the server", 30)
    family = up.family()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(30) == 0, up.said
    assert all_gone(family)
    assert not (data_dir / "running.json").exists()


def test_a_server_that_is_not_ours_is_used_and_left_running(private_server: EmbeddedServer, data_dir: Path) -> None:
    redis.Redis.from_url(private_server.url).config_set("requirepass", "hidden-words")
    url = private_server.url.replace("//", "//:hidden-words@")
    up = Up(data_dir, REDIS_URL=url)
    try:
        wait_until(lambda: "models.1" in up.endpoint().get("pids", {}), "it to run", 60)
        assert up.endpoint()["redis"] == url
        assert "redis" not in up.endpoint()["pids"]
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(30) == 0
    finally:
        up.end()
    assert private_server.running()
    assert "hidden-words" not in up.said


def test_a_provider_that_cannot_start_ends_it_at_once(data_dir: Path) -> None:
    answer = marketswarm("up", "--data-dir", str(data_dir), "--symbols", "NOSUCH", timeout=30)
    assert answer.returncode == 1
    assert "marketswarm: the simulated provider ended before it answered" in answer.stderr
    assert "NOSUCH" in answer.stdout
    assert not (data_dir / "running.json").exists()


def test_the_second_interrupt_kills_what_does_not_end(up: Up) -> None:
    wait_until(lambda: workers_run(up), "it to run", 60)
    family = up.family()
    frozen = psutil.Process(up.endpoint()["pids"]["models.1"])
    frozen.suspend()
    up.process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    others = [process for process in family if process != frozen and "worker" in process.cmdline()]
    wait_until(lambda: all_gone(others), "the others to end", 30)
    assert up.process.poll() is None

    # Signals within 0.3 s of each other count as one.
    wait_until(lambda: time.monotonic() > pressed + 0.4, "another signal to count as the second")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(10) == 1
    assert all_gone(family)
    assert "killed: models.1" in up.said


def test_live_speaks_with_the_provider_and_hands_the_key_to_no_other(data_dir: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "simulate", "--symbols", "SPX"], env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as provider:
        assert provider.stdout is not None
        url = provider.stdout.readline().split()[-1]
        up = Up(data_dir, "--live", "--symbols", "SPX", "--scale", "hydrate=2,spot=0", MASSIVE_API_KEY="hunter2",
                MASSIVE_REST_URL=url, MASSIVE_WS_URL=url.replace("http", "ws"))
        try:
            wait_until(lambda: up.versions().get("SPX gex", 0) > 1, "versions", 60, every=0.5)
            pids = up.endpoint()["pids"]
            assert {"hydrate.1", "hydrate.2"} <= set(pids)
            assert not {"spot.1", "provider"} & set(pids)
            with_key = {name for name, pid in pids.items() if "MASSIVE_API_KEY" in psutil.Process(pid).environ()}
            assert with_key == {"chain.1", "socket.1"}
            assert "hunter2" not in up.said + (data_dir / "running.json").read_text()
            assert "hunter2" not in " ".join(" ".join(process.cmdline()) for process in up.family())
            doctor = marketswarm("doctor", "--data-dir", str(data_dir), MASSIVE_API_KEY="hunter2", MASSIVE_REST_URL=url,
                                 MASSIVE_WS_URL=url.replace("http", "ws"))
            assert f"{url}: the market is" in doctor.stdout
            assert "hunter2" not in doctor.stdout + doctor.stderr
        finally:
            up.end()
            provider.terminate()


def test_on_a_terminal_a_table_shows_the_versions(data_dir: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    with subprocess.Popen(
        [*COMMAND, "up", "--data-dir", str(data_dir), "--symbols", "SPX"], env={**environment(), "TERM": "xterm"},
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = bytearray()

        def read_more() -> bool:
            if select.select([ours], [], [], 0.1)[0]:
                with suppress(OSError):
                    shown.extend(os.read(ours, 65536))
            return bool(re.search(rb"SPX +[0-9.]+ s +\d+ +\d+ +\d+ +\d+ +\d+", shown))

        try:
            wait_until(read_more, "a row with versions", 60)
            assert b"heatmap v" in shown
        finally:
            process.send_signal(signal.SIGINT)
            # Somebody must read, or its last lines would have nowhere to go.
            wait_until(lambda: read_more() and process.poll() is not None, "its end", 30)
    os.close(ours)
    assert process.returncode == 0
