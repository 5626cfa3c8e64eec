"""The long run: 100,000 events, three epochs, workers killed all the time. `pytest -m long`: some ten minutes."""

import os
import random
import signal
import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from honcho.printer import Printer
from walrus import Database

from pipeline.replay import hands
from pipeline.replay.feed import CORE, Feed
from pipeline.replay.hands import InProcess, Processes
from pipeline.replay.namespace import About, drop
from pipeline.replay.verify import Verification
from pipeline.replay.window import Window, read_window
from pipeline.settings import Settings
from tests.replay.sessions import Session, now_ms, session_settings
from tests.waiting import wait_until
from tests.world import World

EVENTS = int(os.environ.get("LONG_EVENTS", "100000"))
KILL_S = 5.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def workers(world: World, settings: Settings, number: int) -> Processes:
    url = world.settings.redis_url.get_secret_value()
    return Processes(settings, url, dict.fromkeys(CORE, number), Printer(StringIO()))


def live(world: World, consumers: int) -> Window:
    """A session in front of ``consumers`` processes a stage, one of which is killed every few seconds."""
    drawn, crew = random.Random(1), workers(world, world.settings, consumers)
    killed, due = 0, time.monotonic() + KILL_S
    try:
        for move in Session(world, 1, EVENTS, batch=100).moves():
            if move != "ticks":
                settle(world, crew)
            crew.turn(0.03)
            if time.monotonic() > due and crew.pids:
                due = time.monotonic() + KILL_S
                os.kill(drawn.choice(list(crew.pids.values())), signal.SIGKILL)
                killed += 1
        settle(world, crew)
    finally:
        crew.close()
    assert killed >= 5
    return read_window(world.database, world.keys, "SPX", 0, now_ms(world.database), world.settings, with_versions=True)


def settle(world: World, crew: Processes) -> None:
    """Until every stage has done what there is."""
    window = Window("SPX", 0, 0, "start", None, {"widths": [20.0]})
    feed = Feed(window, world.settings, world.database, crew, About(world.database, "settle"))

    def done() -> bool:
        crew.turn(0.1)
        return sum(feed._waiting(stage) for stage in CORE) == 0

    wait_until(done, "the stages to come to rest", timeout=300)


def test_a_hundred_thousand_events_under_fire_are_verified_and_replayed(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "_DEATHS_MAX", 1_000_000)  # it is we who kill them
    world = World(database, session_settings(make_settings, redis_url))
    began = time.monotonic()
    window = live(world, 4)
    say(f"live took {time.monotonic() - began:.0f} s: {window.entries} entries, {len(window.commits)} commits, "
        f"{len(window.versions)} versions")
    assert len({commit.epoch for commit in window.commits if commit.kind == "promote"}) == 4
    began = time.monotonic()
    report = Verification(window, window.settings_of(world.settings, "verified"), database).run()
    took_s = time.monotonic() - began
    say(f"verify took {took_s:.0f} s: {report.versions} versions, {report.total_differences} differences")
    assert (report.total_differences, report.early, report.lost) == (0, 0, 0)
    assert report.versions == len(window.versions)
    expected = world.final()
    for name, consumers, speed in (("one", 0, None), ("two", 2, None), ("four", 4, None), ("ten", 2, 10.0),
                                   ("paced", 1, 1.0)):
        found, feed = replayed(world, window, name, consumers, speed)
        say(f"{name}: {feed.given} entries in {feed.took_s:.0f} s, {feed.rate:.0f} events/s, "
            f"{(window.to_ms - window.base_ms) / 1000 / feed.took_s:.1f} times the recorded pace")
        assert found == expected, name
        drop(database, name)


def replayed(
    world: World, window: Window, name: str, consumers: int, speed: float | None
) -> tuple[dict[str, Any], Feed]:
    """``consumers`` processes a stage; 0: all of it in this process."""
    settings, about = window.settings_of(world.settings, name), About(world.database, name)
    about.begin(window, "replay", "", "live")
    crew = workers(world, settings, consumers) if consumers else InProcess(
        settings, world.database, dict.fromkeys(CORE, 1)
    )
    feed = Feed(window, settings, world.database, crew, about, speed)
    try:
        feed.run()
    finally:
        crew.close()
    return World(world.database, settings).final(), feed


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a run of ten minutes has to tell
