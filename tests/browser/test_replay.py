"""A recorded session in the page: begun, played, stepped, slid through and left again; and always called a replay."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.keys import Keys
from tests.browser.opened import Opened, opened
from tests.gateway.conftest import Served
from tests.waiting import wait_until
from tests.world import T0, World, quote, row, tickers

pytestmark = pytest.mark.timeout(300)
MINUTE_MS = 60_000
MINUTES = 12
END = T0 + MINUTES * MINUTE_MS
NAME = "friday"
# A replay that is not called one, in any frame from the click that asks for it to the click that leaves it.
_WATCH = """
() => {
  const shown = (id) => document.getElementById(id).checkVisibility();
  window.unsaid = [];
  const look = () => {
    if (window.marketswarm.state.replay) {
      if (!shown("replay-badge")) window.unsaid.push("no REPLAY");
      if (shown("state") && document.getElementById("state-word").textContent === "LIVE") window.unsaid.push("LIVE");
    }
    requestAnimationFrame(look);
  };
  look();
}
"""


class Replay:
    """What is done in the page, and what it shows then."""

    def __init__(self, page: Opened) -> None:
        self.page = page

    def position(self) -> int:
        return int(self.page.says("window.marketswarm.state.time.position"))

    def plays(self) -> bool:
        return bool(self.page.page.get_attribute("#play", "aria-label") == "Pause")

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.asks("document", "heatmap", "SPX")
        return found

    def slide(self, ts: int) -> None:
        self.page.page.fill("#slider", str(ts))

    def press(self, key: str) -> None:
        self.page.page.locator("#field").focus()
        self.page.page.keyboard.press(key)


def becomes(read: Callable[[], Any], wanted: Any) -> None:
    wait_until(lambda: read() == wanted, str(wanted), 20)


@contextmanager
def watched(browser: Any, served: Served) -> Iterator[Opened]:
    """A live page, asked in every frame whether it calls a replay one."""
    with opened(browser, served.url) as page:
        page.until("document.body.dataset.state === 'live'", "live")
        page.says(_WATCH)
        yield page
        assert page.says("window.unsaid") == []
        assert page.faults == []


def record(served: Served) -> World:
    """A replay that is done: a spot and a quote a minute, a version each."""
    database = served.world.database
    world = World(database, served.settings.model_copy(update={"namespace": Keys.replay_namespace(NAME)}))
    listed = tickers()
    world.chain([row(ticker) for ticker in listed])
    world.settle()
    for minute in range(1, MINUTES + 1):
        ts = T0 + minute * MINUTE_MS
        world.spot(7550.0 + minute, ts)
        world.frame([quote(listed[minute], 3.0 + minute / 10, 4.0 + minute / 10, ts, minute)])
        world.settle()
    database.hset(Keys.replay_about(NAME), mapping={"name": NAME, "symbol": "SPX", "state": "done", "layout": "flat"})
    database.sadd(Keys.replays(), NAME)
    return world


def test_a_replay_is_played_stepped_and_slid_through(browser: Any, served: Served) -> None:
    served.begin()
    final = record(served).model("heatmap")
    with watched(browser, served) as page:
        replay, buttons = Replay(page), page.page
        assert buttons.locator("#slider").is_disabled()
        buttons.locator("#source").focus()
        buttons.select_option("#source", NAME)
        buttons.locator("#replay-badge", has_text="REPLAY").wait_for()
        page.until(f"window.marketswarm.state.time.end === {END}", "all of the recording")
        assert replay.plays(), "by itself"
        buttons.click("#play")
        wait_until(lambda: not replay.plays(), "the pause")
        paused = replay.position()
        buttons.wait_for_timeout(300)
        assert T0 <= replay.position() == paused < END

        for _ in range(3):
            buttons.click("#forward")
        becomes(page.version, 4)
        document = replay.document()
        assert document["spot"] == 7553.0
        replay.press("]")
        becomes(page.version, 5)
        buttons.click("#back")
        becomes(page.version, 4)
        assert replay.document() == document, "a moment is the same however it was reached"
        assert page.drawn()["different"] == []

        replay.slide(END)
        becomes(page.version, final["version"])
        assert replay.document() == final
        assert buttons.inner_text("#slider-time") == "20 Aug 11:32:00 of 11:32:00"
        replay.slide(T0 + 5 * MINUTE_MS)
        becomes(page.version, 6)
        assert buttons.inner_text("#slider-time") == "20 Aug 11:25:00 of 11:32:00"
        buttons.click("#back-hour")
        becomes(replay.position, T0)

        buttons.select_option("#speed", "60")
        replay.press(" ")
        wait_until(lambda: replay.plays(), "play")
        wait_until(lambda: T0 + MINUTE_MS < replay.position() < END, "a minute a second")
        for _ in range(2):
            replay.press(">")
        assert buttons.input_value("#speed") == "300"
        becomes(replay.position, END)
        wait_until(lambda: not replay.plays(), "that it stops there")
        assert replay.document() == final
        buttons.click("#to-open")
        becomes(replay.position, T0)

        buttons.click("#to-live")
        buttons.locator("#replay-badge").wait_for(state="hidden")
        assert buttons.inner_text("#slider-time") == "live"
        served.tick(1)
        page.until("document.body.dataset.state === 'live'", "live again")
        page.becomes_equal("heatmap", "SPX")
        assert page.page.inner_text("#spot") == "7,550.00"


def test_what_is_recorded_is_replayed_at_a_click(browser: Any, served: Served) -> None:
    served.begin()
    for number in range(5):
        served.tick(number)
    panes = served.world.model("heatmap")["panes"]
    names = []
    with watched(browser, served) as page:
        for button in ("#to-open", "#back-hour"):
            page.page.locator(f"{button}:enabled").click()
            page.page.locator("#replay-badge", has_text="REPLAY").wait_for()
            names.append(page.page.input_value("#source"))
            becomes(lambda: (Replay(page).document() or {}).get("panes"), panes)
            Replay(page).press("l")
            page.page.locator("#replay-badge").wait_for(state="hidden")
            page.becomes_equal("heatmap", "SPX")
    assert len(set(names)) == 2
    assert all(name.startswith("page-spx-") for name in names)
