"""A replay as a page plays it: from its first entry, at its own pace, to what the replay ended with."""

import time

import httpx
import pytest

from pipeline.keys import Keys
from pipeline.replay.namespace import abouts
from tests.gateway.conftest import Served
from tests.gateway.tab import tab
from tests.gateway.test_access import error
from tests.waiting import wait_until
from tests.world import World


def begin(served: Served) -> None:
    """A minute that is worth replaying."""
    served.begin()
    for number in range(5):
        served.tick(number)


def window(served: Served) -> dict[str, object]:
    recorded = httpx.get(f"{served.url}/api/replays").json()["recorded"]["SPX"]
    return {"symbol": "SPX", "from_ms": recorded["from_ms"] - 60_000, "to_ms": int(time.time() * 1000)}


@pytest.mark.timeout(180)
def test_a_replay_is_begun_from_the_page_played_and_dropped(served: Served) -> None:
    begin(served)
    with httpx.Client(base_url=served.url, timeout=60) as client:
        assert client.get("/api/replays").json()["replays"] == []
        answer = client.post("/api/replays", json=window(served))
        assert answer.status_code == 202, answer.text
        name = answer.json()["name"]
        wait_until(lambda: abouts(served.world.database)[0].get("state") == "done", "its end", 60)
        (about,) = client.get("/api/replays").json()["replays"]
        assert (about["name"], about["symbol"], about["state"]) == (name, "SPX", "done")
        assert isinstance(about["from_ms"], int)

        replayed = World(served.world.database, served.settings.model_copy(
            update={"namespace": Keys.replay_namespace(name)}))
        assert replayed.final() == served.world.final(), "the same end as live"
        with tab(served.url, f"replay={name}&last_event_id=0") as opened:
            final = {("SPX", model): replayed.model(model) for model in ("heatmap", "gex", "market_mode")}
            wait_until(lambda: opened.error or final.items() <= opened.page.documents.items(), "the last version", 20)
            assert opened.error is None
            assert [reset["reason"] for reset in opened.page.resets] == ["start"]
            assert opened.page.versions["SPX", "heatmap"][0] == 1, "from its first entry"
            wait_until(lambda: opened.page.last_id and opened.page.counts["heartbeat"], "a mark and a heartbeat")
            beat = next(told for one, told in opened.page.others if one == "heartbeat")
            assert beat["replay"]["name"] == name
            shown, connections = dict(opened.page.versions), opened.connections
            opened.cut()
            wait_until(lambda: opened.connections > connections, "another connection")
            beats = opened.page.counts["heartbeat"]
            wait_until(lambda: opened.page.counts["heartbeat"] > beats, "its first heartbeat")
            assert opened.page.versions == shown, "it went on where it was"
            assert [reset["reason"] for reset in opened.page.resets] == ["start"]
        assert client.get(f"/api/models/heatmap/SPX?replay={name}").json() == replayed.model("heatmap")
        assert client.get(f"/api/symbols?replay={name}").json()[0]["epoch"] == replayed.epoch()
        assert client.delete(f"/api/replays/{name}").status_code == 204
        assert client.get("/api/replays").json()["replays"] == []
        assert client.get(f"/sse?replay={name}").status_code == 404


def test_what_cannot_be_replayed_is_refused_in_one_line(served: Served) -> None:
    begin(served)
    good = window(served)
    with httpx.Client(base_url=served.url, timeout=60) as client:
        for changed, told in (
            ({"symbol": "RUT"}, "symbol: there are SPX, NDX"), ({"from_ms": "noon"}, "from_ms and to_ms are times"),
            ({"from_ms": good["to_ms"]}, "the first is before the other"), ({"speed": "fast"}, "speed is 1, 10"),
        ):
            answer = client.post("/api/replays", json={**good, **changed})
            assert answer.status_code == 400
            assert told in error(answer)
        old = client.post("/api/replays", json={**good, "from_ms": 1_000, "to_ms": 2_000})
        assert old.status_code == 400
        assert error(old)
        broken = client.post("/api/replays", content=b"{", headers={"content-type": "application/json"})
        assert broken.status_code == 400
        assert client.post("/api/replays", data={"symbol": "SPX"}).status_code == 415
        foreign = client.post("/api/replays", json=good, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        for path in ("/api/replays/none", "/api/replays/a:b"):
            assert client.delete(path).status_code == 404
        assert client.get("/sse?replay=none").status_code == 404
        assert client.get("/api/symbols?replay=none").status_code == 404
