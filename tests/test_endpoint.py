"""How a running `up` is found, and a dead one is not."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.endpoint import AlreadyRunning, Endpoint, claimed, read_endpoint
from pipeline.settings import SettingsError

ENDPOINT = Endpoint(
    redis="redis://:secret@127.0.0.1:1/0", provider="http://127.0.0.1:2", simulated=True, symbols=("SPX", "NDX"),
    layout="flat", namespace="", pid=os.getpid(), started=1, version="0", pids={"chain.1": 5},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "running.json"


def test_what_is_written_is_read_while_it_runs_and_gone_afterwards(file: Path) -> None:
    assert read_endpoint(file) is None
    with claimed(file):
        assert read_endpoint(file) is None, "claimed, and nothing told yet"
        ENDPOINT.write(file)
        assert read_endpoint(file) == ENDPOINT
    assert read_endpoint(file) is None
    assert not file.exists()


def test_only_its_owner_may_read_it(file: Path) -> None:
    with claimed(file):
        ENDPOINT.write(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_second_up_in_the_same_directory_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.endpoint._PATIENCE_S", 0.1)
    with claimed(file):
        ENDPOINT.write(file)
        with pytest.raises(AlreadyRunning, match="already runs in"), claimed(file):
            pass
        assert read_endpoint(file) == ENDPOINT, "the one that runs is not disturbed"


def test_the_file_of_a_killed_up_is_stale(file: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c",
         "import pathlib, sys, threading\n"
         "from pipeline.endpoint import claimed\nfrom tests.test_endpoint import ENDPOINT\n"
         "with claimed(pathlib.Path(sys.argv[1])):\n"
         "    ENDPOINT.write(pathlib.Path(sys.argv[1]))\n    print('told', flush=True)\n    threading.Event().wait()",
         str(file)],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )
    assert killed.stdout is not None
    killed.stdout.readline()
    assert read_endpoint(file) is not None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert file.exists()
    assert read_endpoint(file) is None
    with claimed(file):
        assert not file.exists()


def test_a_file_that_cannot_be_read_is_said_in_one_line(file: Path) -> None:
    with claimed(file):
        file.write_text("{")
        with pytest.raises(SettingsError, match=r"running\.json cannot be read"):
            read_endpoint(file)


def test_a_directory_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in its place")
    with pytest.raises(SettingsError, match="MASSIVE_DATA_DIR"), claimed(tmp_path / "data" / "running.json"):
        pass
