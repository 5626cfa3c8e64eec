"""A recorded session served as the provider serves: its rows, its frames and its spot."""

from pathlib import Path

import httpx
import orjson
import pytest

from pipeline.replay.session_file import read_session
from pipeline.replay.window import WindowError
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.simulator.playback import Playback
from tests.simulator.listener import listening

GOLDEN = Path(__file__).parents[1] / "replay" / "golden.msw"


def chain(sim: Simulator) -> dict[str, dict[str, object]]:
    """Every row of the chain, page after page."""
    rows: dict[str, dict[str, object]] = {}
    with httpx.Client(headers={"Authorization": "Bearer sim"}, trust_env=False) as client:
        url: str | None = f"{sim.url}/v3/snapshot/options/I:SPX?limit=50"
        while url:
            body = client.get(url).json()
            rows |= {row["details"]["ticker"]: row for row in body["results"]}
            url = body.get("next_url")
    return rows


def recorded(place: int) -> dict[str, dict[str, object]]:
    window = read_session(GOLDEN)
    days = window.rows[window.chains[place].id].values()
    return {row["details"]["ticker"]: row for rows in days for row in orjson.loads(rows)}


def test_a_recorded_session_is_served_again() -> None:
    window = read_session(GOLDEN)
    events = [event for row in window.ws for event in orjson.loads(row.fields[b"payload"]) if event["ev"] == "Q"]
    ticker = max({event["sym"] for event in events}, key=lambda sym: sum(event["sym"] == sym for event in events))
    with Simulator(SimulatorSettings(session=GOLDEN, clock_speed=0)) as sim:
        assert chain(sim) == recorded(0)
        with listening(sim, "options") as options, listening(sim, "indices") as indices:
            options.subscribe(f"Q.{ticker}")
            indices.subscribe("V.I:SPX")
            sim.advance(3600)
            expected = [event for event in events if event["sym"] == ticker]
            found: list[dict[str, object]] = []
            while len(found) < len(expected):
                found += options.frame()
            assert found == expected
            values = [event["val"] for _ in window.spots for event in indices.frame()]
            assert values == [float(spot.text("price")) for spot in window.spots]
        assert chain(sim) == recorded(-1)


def test_a_session_says_its_chains_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="says its chains"):
        SimulatorSettings(session=GOLDEN, symbols=("SPX",))
    file = tmp_path / "notes.msw"
    file.write_text("dear diary")
    with pytest.raises(WindowError, match="no recorded session"):
        Playback(file)
