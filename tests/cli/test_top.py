"""`marketswarm top` and `scale` on a real server with a real worker."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from walrus import Database

from consumers import hydrate
from pipeline.cli.top_app import TopApp
from pipeline.database import connect
from pipeline.settings import Settings
from tests.cli.run import marketswarm, refused
from tests.running import running
from tests.waiting import wait_until
from tests.world import T0, World, quote, row, tickers


@pytest.fixture
def hydrating(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Iterator[World]:
    """An epoch, and a worker that hydrates it."""
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",)))
    world.chain([row(ticker) for ticker in tickers()])
    world.settle()
    with running("hydrate", hydrate.run, world.settings, connect(redis_url)):
        wait_until(lambda: database.hlen(world.keys.workers()), "the worker to register")
        yield world


def screen(app: TopApp) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def test_what_flows_is_on_the_screen(hydrating: World) -> None:
    async def run() -> None:
        app = TopApp(hydrating.database, hydrating.keys, ("SPX",), 0.5)
        async with app.run_test(size=(140, 40)) as pilot:
            for number in range(200):
                if app.works is not None and app.works.events_per_s.get("applied", 0) > 0:
                    break
                hydrating.frame([quote(tickers()[0], 10 + number / 100, 11 + number / 100, T0 + 1000 + number, number)])
                await pilot.pause(0.1)
            await pilot.pause(0.1)
            shown = screen(app)
            assert "hydrate" in shown
            assert "tick p99" in shown
            assert "SPX" in shown
            await pilot.press("space")
            for _ in range(100):
                if "held still" in screen(app):
                    break
                await pilot.pause(0.1)  # a renewal that was under way draws over it once more
            assert "held still" in screen(app)
            await pilot.press("q")

    asyncio.run(run())


def test_a_server_that_is_away_is_said(hydrating: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = connect("redis://127.0.0.1:1")

    async def run() -> None:
        app = TopApp(gone, hydrating.keys, ("SPX",), 60.0)
        async with app.run_test(size=(100, 20)) as pilot:
            for _ in range(300):
                if "no answer from Redis" in screen(app):
                    break
                await pilot.pause(0.1)
            assert "no answer from Redis" in screen(app)

    asyncio.run(run())


def test_without_a_terminal_it_says_what_else_to_use(redis_url: str, database: Database) -> None:
    assert "marketswarm status" in refused(marketswarm("top", REDIS_URL=redis_url))


def test_scale_advises_by_what_is_measured(hydrating: World, redis_url: str) -> None:
    hydrating.frame([quote(tickers()[0], 10.5, 11.5, T0 + 5000, 1)])
    answer = marketswarm("scale", "--seconds", "1", "--json", REDIS_URL=redis_url, MASSIVE_SYMBOLS="SPX")
    assert answer.returncode == 0, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout)
    assert told["stages"]["hydrate"]["processes"] == 1
    assert told["stages"]["models"] | {"processes": 0, "needed": None} == told["stages"]["models"]
    assert 0 <= told["redis_busy"] <= 1
    table = marketswarm("scale", "--seconds", "1", REDIS_URL=redis_url, MASSIVE_SYMBOLS="SPX").stdout
    assert "needed" in table
    assert "keeps up" in table


def test_scale_says_where_nobody_works(database: Database, redis_url: str) -> None:
    assert "no worker is registered" in refused(marketswarm("scale", "--seconds", "1", REDIS_URL=redis_url), 1)
