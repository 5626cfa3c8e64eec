"""A recorded session in the page: begun, played, stepped and slid through, and left again; and always called a replay."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.opened import Opened, opened
from tests.gateway.conftest import Served
from tests.waiting import wait_until
from tests.world import T0, quote, tickers

pytestmark = pytest.mark.timeout(300)
MINUTES = 12
MINUTE_MS = 60_000
# A replay that is not called one, at any time from the click that asks for it to the click that leaves it.
_WATCH = """
() => {
  const shown = (id) => document.getElementById(id).checkVisibility();
  window.unsaid = [];
  const look = () => {
    if (window.marketswarm.state.replay && !shown("replay-badge")) window.unsaid.push("no REPLAY");
    if (window.marketswarm.state.replay && shown("state") && document.getElementById("state-word").textContent === "LIVE")
      window.unsaid.push("LIVE");
    requestAnimationFrame(look);
  };
  look();
}
"""


def record(served: Served) -> None:
    """A spot and a quote a minute."""
    served.begin()
    listed = tickers()
    for minute in range(1, MINUTES + 1):
        ts = T0 + minute * MINUTE_MS
        served.world.spot(7550.0 + minute, ts)
        served.world.frame([quote(listed[minute], 3.0 + minute / 10, 4.0 + minute / 10, ts, minute)])
        served.world.settle()


def position(page: Opened) -> int:
    return int(page.says("window.marketswarm.state.time.position"))


def plays(page: Opened) -> bool:
    return bool(page.page.get_attribute("#play", "aria-label") == "Pause")


def settles(read: Callable[[], Any], wanted: Any, what: str) -> None:
    wait_until(lambda: read() == wanted, what, 20)


def replay_begins(page: Opened, button: str) -> str:
    """Its name, once all of it is there; it plays by itself, and is stopped."""
    page.page.locator(f"{button}:enabled").wait_for()
    page.page.click(button)
    page.page.locator("#replay-badge", has_text="REPLAY").wait_for()
    page.until(f"window.marketswarm.state.time.end >= {T0 + MINUTES * MINUTE_MS}", "all of the recording")
    assert plays(page)
    page.page.click("#play")
    wait_until(lambda: not plays(page), "the pause")
    return str(page.says("window.marketswarm.state.replay"))


def test_a_replay_is_played_from_the_page_and_left_again(browser: Any, served: Served) -> None:
    record(served)
    final = served.world.model("heatmap")
    with opened(browser, served.url) as page:
        page.until("document.body.dataset.state === 'live'", "live")
        assert page.page.locator("#slider").is_disabled()
        page.says(_WATCH)
        name = replay_begins(page, "#to-open")
        assert page.page.input_value("#source") == name
        start, end = (int(page.page.get_attribute("#slider", side) or 0) for side in ("min", "max"))
        assert (start, end) == (T0, T0 + MINUTES * MINUTE_MS)

        paused = position(page)
        page.page.wait_for_timeout(400)
        assert position(page) == paused < end, "a pause stands still"

        page.page.click("#forward")
        page.newer(1)
        first, document = page.version(), page.asks("document", "heatmap", "SPX")
        page.page.click("#forward")
        settles(page.version, first + 1, "a step on")
        page.page.click("#back")
        settles(page.version, first, "a step back")
        assert page.asks("document", "heatmap", "SPX") == document, "a moment is the same however it was reached"
        assert page.drawn()["different"] == []

        page.page.fill("#slider", str(end))
        settles(page.version, final["version"], "the end")
        assert page.asks("document", "heatmap", "SPX") == final
        assert page.page.inner_text("#slider-time").startswith("20 Aug 11:32:00 of 11:32:00")
        page.page.fill("#slider", str(start + 6 * MINUTE_MS))
        settles(lambda: position(page), start + 6 * MINUTE_MS, "the middle")
        settles(lambda: page.asks("document", "heatmap", "SPX")["spot"], 7556.0, "its spot")
        page.page.click("#back-hour")
        settles(lambda: position(page), start, "no further back than the start")

        page.page.select_option("#speed", "10")
        page.page.click("#play")
        wait_until(lambda: plays(page), "play")
        before = position(page)
        page.page.wait_for_timeout(1000)
        slow = position(page) - before
        assert 2_000 < slow < 40_000, "ten times as fast as it was"
        page.page.locator("#field").focus()
        for _ in range(3):
            page.page.keyboard.press(">")
        assert page.page.input_value("#speed") == "300"
        settles(lambda: position(page), end, "the end of the recording")
        wait_until(lambda: not plays(page), "that it stops there")
        settles(page.version, final["version"], "the last version")
        page.page.click("#to-open")
        settles(lambda: position(page), start, "the open")

        page.page.click("#to-live")
        assert not page.page.locator("#replay-badge").is_visible()
        served.tick(1)
        page.until("document.body.dataset.state === 'live'", "live again")
        page.becomes_equal("heatmap", "SPX")
        assert page.page.inner_text("#slider-time") == "live"

        assert replay_begins(page, "#back-hour") != name
        page.page.locator("#field").focus()
        page.page.keyboard.press("l")
        page.page.locator("#replay-badge").wait_for(state="hidden")
        page.becomes_equal("heatmap", "SPX")
        assert page.says("window.unsaid") == []
        assert page.faults == []
