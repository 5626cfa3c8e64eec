"""`honcho start` on the Procfile, as any process manager that reads one would run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.database import connect
from pipeline.keys import Keys
from pipeline.server import EmbeddedServer
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.status import read_status
from tests.cli.run import ROOT
from tests.waiting import wait_until

STAGES = ("keeper", "chain", "socket", "spot", "normalize", "hydrate", "calculate", "models")
"""The way of a tick. The Procfile's other lines are of the same form."""


@pytest.fixture
def provider() -> Iterator[Simulator]:
    with Simulator(SimulatorSettings(rate=100.0, symbols=("SPX",))) as simulator:
        yield simulator


@pytest.mark.timeout(240)
def test_honcho_runs_the_procfile_scaled_and_its_end_leaves_nothing(provider: Simulator, tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    port = 20_000 + os.getpid() % 200 * 50  # a worker's is this + 100 x its line + its number
    with EmbeddedServer(tmp_path) as server, (tmp_path / "honcho.log").open("w+") as log:
        environment = {
            **os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "REDIS_URL": server.url,
            "MASSIVE_API_KEY": "simulated", "MASSIVE_REST_URL": provider.url, "MASSIVE_SYMBOLS": "SPX",
            "MASSIVE_WS_URL": provider.url.replace("http", "ws"), "MASSIVE_GATEWAY_PORT": "0",
            "MASSIVE_DATA_DIR": str(tmp_path), "MASSIVE_DRAIN_S": "3",
        }
        honcho = subprocess.Popen(
            [folder / "honcho", "start", "-p", str(port), "-c", "all=1,hydrate=2", *STAGES], cwd=ROOT, env=environment,
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )
        database, keys = connect(server.url), Keys()
        try:
            wait_until(lambda: database.hlen(keys.workers()) == len(STAGES) + 1, "every worker", 120, every=0.2)
            wait_until(lambda: database.exists(keys.model("heatmap", "SPX")), "the heatmap", 90, every=0.2)
            assert read_status(database, keys, ("SPX",)).stages["hydrate"].consumers == 2
            family = psutil.Process(honcho.pid).children(recursive=True)
            honcho.send_signal(signal.SIGTERM)
            assert honcho.wait(30) == 128 + signal.SIGTERM
            wait_until(lambda: not [one for one in family if one.is_running()], "the end of all")
            if "sending SIGKILL" not in (tmp_path / "honcho.log").read_text():  # after five seconds, on a busy machine
                assert database.hlen(keys.workers()) == 0
                for stage, left in read_status(database, keys, ("SPX",)).stages.items():
                    assert left.consumers == 0 or left.pending, f"{stage}: none stays but the last, with its entries"
        except BaseException:
            log.seek(0)
            sys.stdout.write(log.read()[-6000:])  # shown where the test fails
            raise
        finally:
            if honcho.poll() is None:
                os.killpg(honcho.pid, signal.SIGTERM)
                honcho.wait(30)
            database.connection_pool.disconnect()
