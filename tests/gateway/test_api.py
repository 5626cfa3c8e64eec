"""Documents and facts as JSON, by HTTP's rules."""

import httpx
import orjson
import pytest

from pipeline.gateway.documents import READABLE
from tests.gateway.conftest import Served
from tests.gateway.test_access import error
from tests.valid import faults
from tests.world import T0


def test_every_document_is_the_stored_one_and_is_sent_once_a_version(served: Served) -> None:
    served.begin()
    served.world.spot(7551.0, T0 + 6)
    served.world.settle()
    with httpx.Client(base_url=served.url) as client:
        for model in READABLE:
            answer = client.get(f"/api/models/{model}/SPX")
            if model == "vexy":
                assert answer.status_code == 404
                continue
            stored = served.world.model(model) if model != "spot" else {"symbol": "SPX", "price": 7551.0, "ts": T0 + 6}
            assert answer.json() == stored
            assert answer.headers["cache-control"] == "no-cache"
            assert b" " not in answer.content or model not in ("heatmap", "gex")
            etag = answer.headers["etag"]
            again = client.get(f"/api/models/{model}/SPX", headers={"if-none-match": f'"other", W/{etag}'})
            assert (again.status_code, again.content) == (304, b"")
        before = client.get("/api/models/heatmap/SPX").headers["etag"]
        served.tick(1)
        after = client.get("/api/models/heatmap/SPX", headers={"if-none-match": before})
        assert after.status_code == 200
        assert after.json() == served.world.model("heatmap")


def test_a_view_is_a_part_of_the_document(served: Served) -> None:
    served.begin()
    whole = served.world.model("heatmap")
    pane = next(iter(whole["panes"]))
    with httpx.Client(base_url=served.url) as client:
        part = client.get(f"/api/models/heatmap/SPX?strategies=vertical&panes={pane}").json()
        assert set(part["panes"]) == {pane}
        body = whole["panes"][pane]
        assert part["panes"][pane] == {k: v for k, v in body.items() if k not in ("butterfly", "single")}
        assert client.get(f"/api/models/gex_calls/SPX?panes={pane[:10]}").json() == served.world.model("gex_calls")
        assert client.get("/api/models/gex_calls/SPX?panes=2031-01-01").json()["expirations"] == {}
        assert client.get("/api/models/gex/SPX?panes=2031-01-01").status_code == 400


def test_a_page_can_draw_itself_from_what_it_asks_first(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        assert [tab["epoch"] for tab in client.get("/api/symbols").json()] == [None, None]
        served.begin()
        for number in range(3):
            served.tick(number)
        spx, ndx = client.get("/api/symbols").json()
        assert (spx["symbol"], spx["epoch"], spx["status"]) == ("SPX", served.world.epoch(), "live")
        assert spx["models"]["heatmap"] == served.world.model("heatmap")["version"]
        assert spx["panes"] == [{
            "pane": "2026-08-21:SPXW", "expiration": "2026-08-21", "root": "SPXW", "settlement": "PM", "strikes": 21,
        }]
        assert ndx["epoch"] is None
        epochs = client.get("/api/epochs").json()
        assert epochs["active"]["SPX"]["panes"] == spx["panes"]
        assert [row["epoch"] for row in epochs["timeline"]["SPX"]] == [served.world.epoch()]
        status = client.get("/api/status").json()
        assert status["stages"]["models"]["lag"] == 0
        assert status["heartbeat"]["redis"] is True
        history = client.get("/api/history/SPX").json()
        assert history["spot"][-1][1] == 7550.0
        assert history["series"] == []


def test_market_events_are_listed_oldest_first(served: Served) -> None:
    key = served.world.keys.vigil_events("SPX")
    for number in range(5):
        served.world.database.xadd(key, {
            "type": "wall_moved", "symbol": "SPX" if number % 2 else "NDX", "severity": "info", "ts": T0 + number,
            "evidence": orjson.dumps({"side": "call", "from": 1.0, "to": 2.0, "spot": None}), "key": f"wall:{number}",
        })
    with httpx.Client(base_url=served.url) as client:
        everything = client.get("/api/vigil").json()
        assert [event["ts"] - T0 for event in everything] == [0, 1, 2, 3, 4]
        assert [event["ts"] - T0 for event in client.get("/api/vigil?symbols=SPX&limit=1").json()] == [3]
        for event in everything:
            assert faults("vigil-event", {name: value for name, value in event.items() if name != "id"}) == []


@pytest.mark.parametrize(("path", "status", "told"), [
    ("/api/models/nonsense/SPX", 404, "there is no model 'nonsense'"),
    ("/api/models/heatmap/RUT", 404, "there is no symbol 'RUT'"),
    ("/api/models/heatmap/SPX", 404, "no heatmap of SPX is published"),
    ("/api/models/heatmap/SPX?panes=today", 400, "panes: 'today' is not YYYY-MM-DD:ROOT"),
    ("/api/models/heatmap/SPX?strategies=condor", 400, "strategies: there is no 'condor'"),
    ("/api/vigil?limit=0", 400, "limit: '0' is not a number from 1 to 1000"),
    ("/api/vigil?limit=1&limit=2", 400, "limit is given twice"),
    ("/api/symbols?all=1", 400, "there is no parameter 'all'"),
    ("/sse?models=heatmaps", 400, "models: there is no 'heatmaps'"),
    ("/sse?symbols=SPX,", 400, "symbols: there is no ''"),
    ("/sse?last_event_id=yesterday", 400, "Last-Event-ID: 'yesterday' is no id"),
    ("/nothing", 404, "Not Found"),
])
def test_what_cannot_be_answered_is_refused_in_one_line(served: Served, path: str, status: int, told: str) -> None:
    answer = httpx.get(f"{served.url}{path}")
    assert answer.status_code == status
    assert told in error(answer)


def test_methods_that_change_something_are_not_served(served: Served) -> None:
    for path in ("/sse", "/api/symbols", "/api/models/heatmap/SPX", "/metrics"):
        assert httpx.post(f"{served.url}{path}").status_code == 405
