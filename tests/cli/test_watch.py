"""`marketswarm watch` on a real server: the application under its pilot, and once in a terminal of its own."""

import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from walrus import Database

from pipeline.cli.published import Published
from pipeline.cli.watch_app import WatchApp
from pipeline.database import connect
from pipeline.settings import Settings
from tests.cli.run import COMMAND, ROOT, environment, marketswarm, refused
from tests.test_schemas import fairly_priced
from tests.waiting import wait_until
from tests.world import T0, World, tickers

SIZE = (80, 24)
LISTED = tickers(days=(date(2026, 8, 21), date(2026, 8, 24)), strikes=range(7400, 7705, 10))


@pytest.fixture
def world(database: Database, settings: Settings) -> World:
    return World(database, settings)


@pytest.fixture
def published(world: World) -> World:
    world.chain([fairly_priced(ticker) for ticker in LISTED])
    world.settle()
    return world


def screen(app: WatchApp) -> list[str]:
    """The lines of the screen as they are composed."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def piloted(world: World, script: Callable[[WatchApp, Any], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        app = WatchApp(Published(world.database, world.keys, "SPX"))
        async with app.run_test(size=SIZE) as pilot:
            await script(app, pilot)

    asyncio.run(run())


def test_everything_is_on_one_screen(published: World) -> None:
    async def script(app: WatchApp, pilot: Any) -> None:
        await pilot.pause()
        lines = screen(app)
        assert len(lines) == SIZE[1]
        assert all(len(line) == SIZE[0] for line in lines)
        assert lines[0].startswith("SPX 7,550 live  v1 ")
        assert "F flip" in lines[1]
        assert "C wall" in lines[1]
        assert lines[2].startswith("mode ")
        assert "gravity" in lines[2]
        assert lines[3].startswith("butterfly call mid  2026-08-21:SPXW (1/2) 1 DTE")
        assert lines[4].split() == ["strike", "20", "25", "30", "35", "40", "45", "50", "GEX", "$mn"]
        assert [line for line in lines[5:-1] if ">" in line[:3] and "7,550" in line]
        assert all("│" in line for line in lines[5:-1]), "a bar beside every strike"
        assert "quit" in lines[-1]

    piloted(published, script)


def test_keys_choose_what_is_shown(published: World) -> None:
    async def script(app: WatchApp, pilot: Any) -> None:
        await pilot.press("s", "c", "d", "right")
        assert screen(app)[3].startswith("vertical put buy  2026-08-24:SPXW (2/2) 4 DTE")
        before = screen(app)[5].split()[0]
        await pilot.press("up")
        assert float(screen(app)[5].split()[0].replace(",", "")) == float(before.replace(",", "")) + 10
        await pilot.press("0", "right", "s")
        assert screen(app)[3].startswith("single put buy  2026-08-21:SPXW (1/2)")
        await pilot.press("q")

    piloted(published, script)


def test_it_follows_what_is_published_and_survives_a_new_epoch(published: World) -> None:
    async def script(app: WatchApp, pilot: Any) -> None:
        published.spot(7561.0, T0 + 60_000)
        published.settle()
        await app.renew()
        await pilot.pause()
        assert screen(app)[0].startswith("SPX 7,561 live  v2 ")
        later = T0 + 120_000
        wider = LISTED + tickers(days=(date(2026, 8, 26),), strikes=range(7400, 7705, 10))
        published.chain([fairly_priced(ticker, later) for ticker in wider], later)
        published.settle()
        await app.renew()
        await pilot.pause()
        assert "(1/3)" in screen(app)[3]

    piloted(published, script)


def test_missing_models_are_a_dash_and_why(published: World) -> None:
    for name in ("gex", "market_mode"):
        published.database.delete(published.keys.model(name, "SPX"))

    async def script(app: WatchApp, pilot: Any) -> None:
        await pilot.pause()
        lines = screen(app)
        assert lines[1].startswith("levels - (gex is not published)")
        assert lines[2].startswith("mode - (not published)")
        published.database.delete(published.keys.model("heatmap_vertical", "SPX"))
        await pilot.press("s")
        assert screen(app)[3].startswith("vertical - (its heatmap is not published)")

    piloted(published, script)


def test_before_anything_is_published_it_says_so(world: World) -> None:
    async def script(app: WatchApp, pilot: Any) -> None:
        await pilot.pause()
        assert screen(app)[0].startswith("SPX - nothing is published yet")

    piloted(world, script)


def test_a_server_that_is_gone_is_told_and_what_was_known_stays(published: World) -> None:
    async def script(app: WatchApp, pilot: Any) -> None:
        await pilot.pause()
        app._published = Published(connect("redis://127.0.0.1:1/0"), published.keys, "SPX")
        await app.renew()
        await pilot.pause()
        assert screen(app)[0].startswith("no answer from Redis (ConnectionError)")
        assert screen(app)[1].startswith("SPX 7,550 live")

    piloted(published, script)


# --- as it is called ---
def test_without_a_terminal_it_is_refused(published: World, redis_url: str) -> None:
    assert "watch needs a terminal" in refused(marketswarm("watch", "spx", REDIS_URL=redis_url))
    assert "nothing is known of QQQ: there is " in refused(marketswarm("watch", "qqq", REDIS_URL=redis_url))


def test_on_a_terminal_it_draws_and_q_quits(published: World, redis_url: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    with subprocess.Popen(
        [*COMMAND, "watch", "spx"], env={**environment(REDIS_URL=redis_url), "TERM": "xterm-256color"}, cwd=ROOT,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:
        os.close(theirs)
        drawn = bytearray()

        def read_more() -> bytes:
            if select.select([ours], [], [], 0.1)[0]:
                with suppress(OSError):
                    drawn.extend(os.read(ours, 65536))
            return bytes(drawn)

        try:
            wait_until(lambda: b"2026-08-21:SPXW" in read_more(), "the surface", 60)
            os.write(ours, b"q")
            wait_until(lambda: read_more() and process.poll() is not None, "its end", 30)
        finally:
            if process.poll() is None:
                process.kill()
    os.close(ours)
    assert process.returncode == 0
