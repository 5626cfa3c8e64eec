"""The dashboard of a running `marketswarm up`, in a real browser, from the first document to the last."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.opened import Opened, opened
from tests.cli.test_up import Up
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
CONTROLS = {
    "strategy": ["vertical", "single", "butterfly"], "side": ["put", "otm", "call"],
    "display": ["buy", "sell", "pin", "reward", "mid"], "bars": ["net", "split"], "book": ["volume", "oi"],
    "scope": ["pane", "all"],
}
KEYS = {"strategy": "s", "side": "c", "display": "v", "bars": "g", "book": "b", "scope": "e"}


@pytest.fixture(scope="module")
def up(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("browser") / "data", "--rate", "500")
    yield up
    up.end()


@pytest.fixture(scope="module")
def page(browser: Any, up: Up) -> Iterator[Opened]:
    url = wait_until(lambda: up.endpoint().get("dashboard"), "the dashboard's address", 60)
    wait_until(lambda: "gateway.1" in up.endpoint().get("pids", {}), "the gateway", 60)
    wait_until(lambda: up.versions().get("NDX heatmap"), "the first documents", 60, every=0.5)
    with opened(browser, url) as page:
        page.until("window.marketswarm?.state.symbols.length === 2", "both symbols", 60)
        page.says("window.stayed = true; window.states = []; new MutationObserver(() => window.states.push("
                  "document.body.dataset.state)).observe(document.body, {attributeFilter: ['data-state']})")
        yield page


def chosen(page: Opened, name: str) -> str:
    """What the field draws, not what the button says."""
    return str(page.asks("drawn")[name])


def test_it_shows_both_symbols_and_updates(page: Opened) -> None:
    assert [tab.split("\n")[0][:3] for tab in page.page.locator("#symbols button").all_inner_texts()] == ["SPX", "NDX"]
    page.until("document.body.dataset.state === 'live'", "live")
    for symbol in ("SPX", "NDX"):
        page.page.click(f"#tab-{symbol}")
        before = page.version(symbol=symbol)
        assert before > 0
        page.newer(before, symbol)
        page.until("document.querySelector('#spot').textContent.includes(',')", "a spot")
        for figure in ("move", "mode", "net", "ratio"):
            page.until(f"/\\d/.test(document.querySelector('#{figure}').textContent)", figure)
        found = page.drawn()
        assert found["same"] > 50
        assert found["different"] == []
    page.page.click("#tab-SPX")
    assert page.page.locator("#vigil li").count() > 0
    assert page.page.locator("#panes button").first.inner_text().startswith("0DTE PM")
    page.until("/\\d/.test(document.querySelector('#latency').textContent)", "a latency")


def test_every_control_obeys_the_mouse(page: Opened) -> None:
    for name, values in CONTROLS.items():
        for value in values:
            page.page.click(f"#{name} label:has(input[value={value}])")
            assert chosen(page, name) == value
    assert page.page.locator("#display input[value=pin]").is_enabled()
    page.page.click("#strategy label:has(input[value=single])")
    assert page.page.locator("#display input[value=pin]").is_disabled(), "a single has no pin probability"
    page.page.click("#strategy label:has(input[value=butterfly])")
    second = page.page.locator("#panes button").nth(1)
    second.click()
    assert chosen(page, "pane") == second.get_attribute("data-pane")
    page.page.locator("#panes button").first.click()
    for _ in range(2):
        theme = page.says("document.documentElement.dataset.theme")
        page.page.click("#theme")
        assert page.says("document.documentElement.dataset.theme") != theme
    page.page.click("#as-table")
    assert page.page.locator("#table td").count() > 100
    page.page.click("#as-table")
    page.page.click("#larger")
    page.page.click("#smaller")
    page.page.click("#centre")
    page.page.click("#help")
    assert page.page.locator("#sheet").is_visible()
    page.page.click("#sheet button")


def test_every_control_obeys_the_keyboard(page: Opened) -> None:
    press = page.page.keyboard.press
    page.page.locator("#field").focus()
    for name, key in KEYS.items():
        first = chosen(page, name)
        seen = []
        while not seen or seen[-1] != first:
            press(key)
            seen.append(chosen(page, name))
            assert len(seen) <= 5
        assert sorted(seen) == sorted(CONTROLS[name])
    press("2")
    assert chosen(page, "symbol") == "NDX"
    press("1")
    front = chosen(page, "pane")
    press(".")
    assert chosen(page, "pane") != front
    press(",")
    assert chosen(page, "pane") == front
    rows = page.asks("drawn")["rowHeight"]
    press("+")
    assert page.asks("drawn")["rowHeight"] > rows
    press("-")
    press("d")
    assert page.says("document.documentElement.dataset.theme") == "light"
    press("d")
    press("t")
    assert page.page.locator("#table.shown").count() == 1
    press("t")
    press("?")
    assert page.page.locator("#sheet").is_visible()
    press("Escape")
    assert not page.page.locator("#sheet").is_visible()


def test_a_tile_tells_its_legs_and_its_order(page: Opened) -> None:
    press = page.page.keyboard.press
    page.page.locator("#field").focus()
    press("0")
    for key in ("ArrowDown", "ArrowUp", "ArrowRight"):
        press(key)
    for _ in range(30):
        if (page.asks("open")["tile"]["buy"] or 0) > 0:
            break
        press("ArrowDown")
    press("Enter")
    ticket = page.page.locator("#ticket")
    ticket.wait_for()
    said = ticket.inner_text()
    assert "Maximum profit" in said
    assert "Breakevens" in said
    assert len(ticket.locator(".legs li").all()) == 3
    order = page.page.input_value("#ticket input")
    assert order.startswith("BUY +1 BUTTERFLY SPXW 100 ")
    assert order.endswith(" LMT")
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press("o")
    page.until("document.querySelector('#ticket [role=status]').textContent !== ''", "that it is copied")
    assert page.says("navigator.clipboard.readText()").startswith("BUY +1 BUTTERFLY SPXW 100 ")
    press("Escape")
    assert not ticket.is_visible()
    box = page.page.locator("#above").bounding_box()
    page.page.mouse.move(box["x"] + 300, box["y"] + box["height"] / 2)
    page.page.locator("#tip", has_text="call butterfly").wait_for()
    page.page.mouse.click(box["x"] + 300, box["y"] + box["height"] / 2)
    ticket.wait_for()
    press("Escape")


def test_an_equal_of_axe_finds_nothing_serious(page: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    for key in ("", "d", "?"):
        if key:
            page.page.keyboard.press(key)
        found = axe.run(page.page).response["violations"]
        serious = [one["id"] + ": " + one["nodes"][0]["html"] for one in found
                   if one["impact"] in {"serious", "critical"}]
        assert serious == [], key
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("d")


def killed(up: Up, process: str) -> None:
    victim = up.endpoint()["pids"][process]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: up.endpoint()["pids"].get(process, victim) != victim, f"the restart of {process}", 60)


def goes_on(page: Opened) -> None:
    page.until("document.body.dataset.state === 'live'", "live again", 90)
    before = page.asks("counts")["diffs"]
    wait_until(lambda: page.asks("counts")["diffs"] > before, "newer versions", 90)
    assert page.says("window.stayed"), "the page was not loaded again"


def test_it_survives_restarts_and_ends_with_what_is_stored(page: Opened, up: Up) -> None:
    page.says("window.states.length = 0")
    killed(up, "gateway.1")
    page.until("window.states.includes('reconnecting')", "that the page says it")
    goes_on(page)
    killed(up, "redis")
    goes_on(page)
    provider = up.endpoint()["pids"]["provider"]
    os.kill(provider, signal.SIGSTOP)  # so that there is an end
    try:
        for symbol in ("SPX", "NDX"):
            for model in ("heatmap", "gex", "gex_calls"):
                page.becomes_equal(model, symbol)
        assert page.drawn()["different"] == []
    finally:
        os.kill(provider, signal.SIGCONT)
    assert page.asks("counts")["gaps"] == 0
    assert page.faults == []
