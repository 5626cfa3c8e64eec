"""The stream as a page reads it: what it ends with is what is stored."""

from typing import Any

import pytest

from tests.gateway.conftest import Served
from tests.gateway.tab import tab
from tests.waiting import wait_until


@pytest.mark.parametrize("gzip", [True, False])
def test_a_page_shows_what_is_stored_whenever_it_was_opened(served: Served, gzip: bool) -> None:
    with tab(served.url, gzip=gzip) as early:
        served.begin()
        wait_until(lambda: served.shown_by(early), "the first documents")
        with tab(served.url, "symbols=SPX", gzip=gzip) as late:
            wait_until(lambda: served.shown_by(late), "the documents of who comes later")
            for number in range(20):
                served.tick(number)
            wait_until(lambda: served.shown_by(early) and served.shown_by(late), "the last version")
            assert late.page.counts["heatmap_diff"] > 5
            assert [reset["reason"] for reset in late.page.resets] == ["start"]
            assert (late.headers.get("content-encoding") == "gzip") is gzip
            assert late.headers["cache-control"] == "no-store"
        for versions in early.page.versions.values():
            assert versions == list(range(versions[0], versions[-1] + 1)), "no version is left out"
        spots: list[dict[str, Any]] = [told for name, told in early.page.others if name == "spot"]
        assert spots[-1]["price"] == 7551.5
