import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest

from pipeline.simulator import Simulator, SimulatorSettings, parse_fault
from tests.simulator.conftest import MORNING
from tests.simulator.listener import listening

SETTINGS = SimulatorSettings(rate=3_000, clock=MORNING, clock_speed=0, seed=7)
END = b'[{"ev":"end"}]'


def session(settings: SimulatorSettings, pieces: list[float]) -> tuple[list[bytes], list[bytes]]:
    """Every byte a client sees: the frames of both sockets, and pages before and after."""
    frames: list[bytes] = []
    pages: list[bytes] = []
    # A fixed Host keeps the port out of next_url.
    headers = {"Authorization": "Bearer sim", "Host": "provider"}
    with (
        Simulator(settings) as sim,
        httpx.Client(base_url=sim.url, headers=headers, trust_env=False) as http,
        listening(sim) as options,
        listening(sim, "indices") as indices,
    ):
        near = [t for t in sim.market.ticker if "W260909C068" in t or "P260918P25" in t]
        options.subscribe("T.*", "A.*", "AM.*", *(f"Q.{ticker}" for ticker in near))
        indices.subscribe("V.I:SPX", "V.I:NDX", "A.I:SPX")
        paths = ["/v3/snapshot/options/I:SPX?limit=250", "/v3/snapshot/options/I:NDX?limit=250&order=desc"]
        paths += ["/v1/marketstatus/now", "/v3/snapshot/indices"]
        pages += [http.get(path).content for path in paths]
        for piece in pieces:
            sim.advance(piece)
        for listener, cluster in ((options, "options"), (indices, "indices")):
            sim.push(cluster, END)
            while (frame := listener.raw()) != END:
                frames.append(frame)
        pages += [http.get(path).content for path in paths]
    return frames, pages


@pytest.fixture(scope="module")
def first():
    return session(SETTINGS, [1.5])


def test_the_same_seed_and_clock_give_the_same_bytes(first):
    assert session(SETTINGS, [1.5]) == first
    assert len(first[0]) > 50


def test_the_session_does_not_depend_on_how_its_time_passes(first):
    frames, pages = session(SETTINGS, [0.25] * 6)
    assert frames == first[0]
    assert pages == first[1]


def test_another_seed_gives_another_session(first):
    frames, pages = session(replace(SETTINGS, seed=8), [1.5])
    assert frames != first[0]
    assert pages[0] != first[1][0]


def test_faults_do_not_change_what_the_market_does(first):
    faults = (parse_fault("malformed:0.5"), parse_fault("late:0.01"), parse_fault("repeat:0.2"))
    _, pages = session(replace(SETTINGS, faults=faults), [1.5])
    assert pages == first[1]


def test_the_session_moves_by_itself_at_the_clocks_speed():
    with (
        Simulator(replace(SETTINGS, clock_speed=20.0)) as sim,
        httpx.Client(base_url=sim.url, headers={"Authorization": "Bearer sim"}, trust_env=False) as http,
        listening(sim, "indices") as listener,
    ):
        listener.subscribe("V.I:SPX")
        times = [listener.frame()[0]["t"] for _ in range(3)]
        # Five values a wall second at speed 1 are one every four session seconds at speed 20.
        assert [b - a for a, b in pairwise(times)] == [4_000, 4_000]
        server_time = http.get("/v1/marketstatus/now").json()["serverTime"]
        assert (
            0
            <= (datetime.fromisoformat(server_time) - MORNING).total_seconds() - (times[-1] / 1e3 - MORNING.timestamp())
            < 60
        )


def test_without_a_clock_the_market_is_open():
    sim = Simulator(replace(SETTINGS, clock=None))
    assert (sim.start.hour, sim.start.minute) == (10, 0)
    assert sim.start.weekday() < 5
    assert sim.start <= datetime.now(UTC).replace(hour=23, minute=59)


def test_served_in_a_process_it_says_where_and_ends_on_sigterm():
    code = (
        "from pipeline.simulator import SimulatorSettings, run\n"
        "run(SimulatorSettings(symbols=('SPY',), rate=10))\n"
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        match = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert match
        body = httpx.get(f"{match[1]}/v3/snapshot/options/SPY?apiKey=hidden-key", trust_env=False).json()
        assert body["results"][0]["underlying_asset"]["price"] > 0
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest) == (0, "")
    assert "hidden-key" not in errors


def test_a_port_in_use_is_refused_at_once(still):
    with pytest.raises(OSError, match="in use"), Simulator(replace(SETTINGS, port=still.port)):
        pass
