"""The stream as a page reads it: what it ends with is what is stored."""

from typing import Any

import pytest

from tests.gateway.conftest import Served
from tests.gateway.page import DOCUMENTS
from tests.gateway.tab import Tab, tab
from tests.waiting import wait_until
from tests.world import T0, quote, row, tickers


def begin(served: Served) -> None:
    served.world.chain([row(ticker) for ticker in tickers()])
    served.world.settle()


def tick(served: Served, number: int) -> None:
    world, listed = served.world, tickers()
    ticker = listed[number % len(listed)]
    world.frame([quote(ticker, 3.0 + number / 100, 4.0 + number / 100, T0 + 5 + number, 9 + number)])
    if number % 5 == 0:
        world.spot(7550.0 + number / 10, T0 + 6 + number)
    world.settle()


def shows(opened: Tab, served: Served, models: tuple[str, ...] = DOCUMENTS) -> bool:
    """Whether every document of the page is the stored one."""
    if opened.error is not None:
        raise opened.error
    with opened.lock:
        return all(opened.page.documents.get(("SPX", model)) == served.world.model(model) for model in models)


@pytest.mark.parametrize("gzip", [True, False])
def test_a_page_shows_what_is_stored_whenever_it_was_opened(served: Served, gzip: bool) -> None:
    with tab(served.url, gzip=gzip) as early:
        begin(served)
        wait_until(lambda: shows(early, served), "the first documents")
        with tab(served.url, "symbols=SPX", gzip=gzip) as late:
            wait_until(lambda: shows(late, served), "the documents of who comes later")
            for number in range(20):
                tick(served, number)
            wait_until(lambda: shows(early, served) and shows(late, served), "the last version")
            assert late.page.counts["heatmap_diff"] > 5
            assert [reset["reason"] for reset in late.page.resets] == ["start"]
            assert (late.headers.get("content-encoding") == "gzip") is gzip
            assert late.headers["cache-control"] == "no-store"
        for versions in early.page.versions.values():
            assert versions == list(range(versions[0], versions[-1] + 1)), "no version is left out"
        spots: list[dict[str, Any]] = [told for name, told in early.page.others if name == "spot"]
        assert spots[-1]["price"] == 7551.5
