"""Whether the page says what its numbers are worth, in words and in shape; and a picture of each state."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.simulator.fault import FaultBoard
from pipeline.simulator.row import chain_rows
from pipeline.simulator.server import build_market
from pipeline.simulator.settings import SimulatorSettings
from tests.browser.opened import Opened, opened
from tests.gateway.conftest import Served
from tests.test_status_words import tell_feed

pytestmark = pytest.mark.timeout(300)
MINUTE_MS = 60_000
PANES = 4
QUIET = timedelta(seconds=35)
"""Longer than a live page believes in what it was told."""


class Session:
    """The simulated market's chain of SPX, its first panes, brought by hand through the real stages."""

    def __init__(self, served: Served) -> None:
        self.world = served.world
        market, start = build_market(SimulatorSettings(seed=3, rate=0.0, symbols=("SPX",)))
        rows = chain_rows(market, list(range(len(market.ticker))), FaultBoard((), 1))
        days = sorted({row["details"]["expiration_date"] for row in rows})[:PANES]
        self.rows = [row for row in rows if row["details"]["expiration_date"] in days]
        self.ts = int(start.timestamp() * 1000)
        self.spot = float(market.spot[0])

    def chain(self, **more: Any) -> None:
        self.world.chain(self.rows, ts=self.ts, spot=self.spot, **more)
        self.world.settle()


def becomes(page: Opened, state: str, word: str, current: bool) -> None:
    page.until(f"document.body.dataset.state === '{state}'", word)
    assert page.state() == word
    assert page.page.locator("#state-shape").get_attribute("d"), "a shape, and not a colour alone"
    page.until(f"document.body.classList.contains('not-current') === {str(not current).lower()}", "what it is worth")
    assert page.page.locator("#old").is_visible() is not current


    dimmed = float(page.says("getComputedStyle(document.querySelector('.stage')).opacity"))
    assert (dimmed < 1) is not current


def of_when(page: Opened) -> str:
    """What the page says its numbers are of."""
    found = re.fullmatch(r"Not current: these are the values of (.+) New York time", page.page.inner_text("#old"))
    assert found is not None
    return found[1]


def momentarily(served: Served) -> str:
    moment = datetime.fromtimestamp(served.world.model("heatmap")["ts"] / 1000, ZoneInfo("America/New_York"))
    return f"{moment:%d %b %H:%M:%S}"


def test_old_numbers_are_never_shown_as_current(browser: Any, served: Served, pictures: Path) -> None:
    session = Session(served)
    with opened(browser, served.url) as page:
        page.until("document.querySelector('#empty').checkVisibility()", "that nothing is there yet")
        page.page.screenshot(path=pictures / "empty.png")
        session.chain(market="open")
        becomes(page, "live", "LIVE", current=True)
        page.page.screenshot(path=pictures / "live.png")

        served.world.spot(session.spot + 3.0, session.ts + 6 * MINUTE_MS)
        served.world.settle()
        becomes(page, "stale", "STALE", current=False)
        assert "Not current" in page.page.inner_text("#old")
        page.page.screenshot(path=pictures / "stale.png")
        level = page.asks("drawn")["levels"]["CALL WALL"]
        assert level == served.world.model("gex")["levels"]["call_wall"], "lines move with the diffs"

        session.ts += 7 * MINUTE_MS
        session.chain(market="closed")
        becomes(page, "closed", "MARKET CLOSED", current=False)
        page.page.screenshot(path=pictures / "closed.png")

        served.running.life.stop.set()
        becomes(page, "reconnecting", "RECONNECTING", current=False)
        page.page.screenshot(path=pictures / "reconnecting.png")
        assert page.faults == []


def test_a_silent_feed_and_a_silent_gateway_are_told_apart(browser: Any, served: Served, pictures: Path) -> None:
    session = Session(served)
    session.chain(market="open")
    with opened(browser, served.url) as page:
        becomes(page, "live", "LIVE", current=True)
        tell_feed(served.world, "dormant")
        becomes(page, "dormant", "DORMANT", current=False)
        assert page.page.inner_text("#state-why") == "the option feed is silent"
        assert of_when(page) == momentarily(served)
        page.page.screenshot(path=pictures / "dormant.png")

        tell_feed(served.world, "resumed")
        becomes(page, "live", "LIVE", current=True)
        # Nothing comes any more, and no document says so: the page's own clock does.
        page.page.clock.set_system_time(datetime.now(UTC) + QUIET)
        becomes(page, "stale", "STALE", current=False)
        assert page.page.inner_text("#state-why").startswith("nothing new for ")
        assert of_when(page) == momentarily(served)
        page.page.screenshot(path=pictures / "quiet.png")

        page.page.clock.set_system_time(datetime.now(UTC))
        becomes(page, "live", "LIVE", current=True)
        assert page.faults == []


def test_it_is_readable_on_every_screen_and_to_every_eye(browser: Any, served: Served, pictures: Path) -> None:
    session = Session(served)
    for row in session.rows:
        row["last_quote"]["timeframe"] = "DELAYED"
    session.chain(market="open")
    screens = {
        "delayed": {}, "light": {"color_scheme": "light"}, "4k": {"width": 3840, "height": 2160},
        "phone": {"width": 390, "height": 844, "is_mobile": True, "has_touch": True, "device_scale_factor": 2},
        "still": {"reduced_motion": "reduce"},
    }
    for name, screen in screens.items():
        with opened(browser, served.url, **screen) as page:
            becomes(page, "delayed", "DELAYED", current=True)
            if name == "light":
                page.page.click("#theme")
            assert page.drawn()["different"] == []
            wide, shown = page.says("[document.documentElement.scrollWidth, innerWidth]")
            assert wide <= shown, f"{name}: nothing is cut off at the right"
            page.page.screenshot(path=pictures / f"{name}.png", full_page=name == "phone")
            if name != "delayed":
                continue
            devtools = page.page.context.new_cdp_session(page.page)
            for eye in ("deuteranopia", "protanopia", "tritanopia", "achromatopsia"):
                devtools.send("Emulation.setEmulatedVisionDeficiency", {"type": eye})
                page.page.screenshot(path=pictures / f"{eye}.png")
