"""G7a: a window fed again ends in the same contracts and documents, whatever fed it, and touches nothing of live."""

import random
import signal
import time
from collections.abc import Callable
from io import StringIO
from os import kill
from typing import Any

import pytest
from honcho.printer import Printer
from walrus import Database

from pipeline.replay.feed import CORE, Feed, moves_of
from pipeline.replay.hands import InProcess, Processes
from pipeline.replay.namespace import About, abouts, drop
from pipeline.replay.window import Commit, Row, Window, WindowError, read_window
from pipeline.settings import Settings
from tests.properties.chaos import Chaos
from tests.replay.sessions import Session, now_ms, session_settings
from tests.world import World


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    return World(database, session_settings(make_settings, redis_url))


def play(world: World, seed: int, events: int, consumers: int = 2) -> Window:
    drawn, chaos = random.Random(seed), Chaos(world, consumers, {}, batch_max=16)
    for _ in Session(world, seed, events).moves():
        for index in drawn.sample(range(len(chaos.engines)), len(chaos.engines)):
            chaos.step(index)
    chaos.settle()
    return read_window(world.database, world.keys, "SPX", 0, now_ms(world.database), world.settings)


def replayed(world: World, window: Window, name: str, hands: Any, speed: float | None = None) -> dict[str, Any]:
    settings = window.settings_of(world.settings, name)
    about = About(world.database, name)
    about.begin(window, "replay", "max", "live")
    try:
        Feed(window, settings, world.database, hands, about, speed).run()
    finally:
        hands.close()
    return World(world.database, settings).final()


def in_process(world: World, window: Window, name: str, consumers: int) -> InProcess:
    return InProcess(window.settings_of(world.settings, name), world.database, dict.fromkeys(CORE, consumers))


def held(database: Database, without: str) -> dict[bytes, Any]:
    """Everything outside of a namespace, as bytes, with the groups' state."""
    found: dict[bytes, Any] = {}
    for key in database.scan_iter(count=1000):
        if key.startswith(without.encode()) or key == b"replays":
            continue
        found[key] = database.dump(key)
    return found


def test_one_and_four_consumers_end_as_live_did_and_live_is_untouched(world: World) -> None:
    window = play(world, seed=11, events=800)
    live = world.final()
    before = held(world.database, "replay:")
    for consumers in (1, 4):
        name = f"by-{consumers}"
        assert replayed(world, window, name, in_process(world, window, name, consumers)) == live
    assert held(world.database, "replay:") == before
    first = About(world.database, "by-1")
    first.tell(state="running")
    with pytest.raises(WindowError, match="'by-1' is running: end it first"):
        drop(world.database, "by-1")
    first.tell(state="done")
    assert {about["name"] for about in abouts(world.database)} == {"by-1", "by-4"}
    for name in ("by-1", "by-4"):
        assert drop(world.database, name) > 100
    assert held(world.database, "none") == before
    assert not world.database.exists("replays")
    with pytest.raises(WindowError, match="no replay"):
        drop(world.database, "by-1")


def test_processes_of_which_one_is_killed_end_as_live_did(world: World) -> None:
    window = play(world, seed=12, events=400)
    settings = window.settings_of(world.settings, "many")
    hands = Processes(
        settings, world.settings.redis_url.get_secret_value(), dict.fromkeys(CORE, 1) | {"hydrate": 2},
        Printer(StringIO()),
    )
    victims = Killing(hands, "hydrate.1")
    assert replayed(world, window, "many", victims) == world.final()
    assert victims.killed


class Killing:
    """Processes, of which one is killed as soon as it runs."""

    def __init__(self, hands: Processes, victim: str) -> None:
        self.names = hands.names
        self.killed = False
        self._hands = hands
        self._victim = victim

    def turn(self, wait_s: float) -> bool:
        pid = self._hands.pids.get(self._victim)
        if pid and not self.killed:
            kill(pid, signal.SIGKILL)
            self.killed = True
        return self._hands.turn(wait_s)

    def close(self) -> None:
        self._hands.close()


def test_a_paced_replay_keeps_the_recorded_pace(world: World) -> None:
    window = play(world, seed=13, events=200)
    began = time.monotonic()
    lasts_s = (window.ws[-1].ms - window.ws[0].ms) / 1000
    assert replayed(world, window, "paced", in_process(world, window, "paced", 1), speed=4.0) == world.final()
    assert time.monotonic() - began >= lasts_s / 4


def tick(number: int) -> Row:
    return Row(f"{number}-0", {b"payload": b"[]"})


def test_a_chain_has_its_place_among_commits_and_without_one_among_ids() -> None:
    def committed(ms: int, seq: int, kind: str, ids: str) -> Commit:
        return Commit(f"{ms}-{seq}", "SPX:1:abcdef", seq, kind, ids, "1", "0")

    window = Window("SPX", 1, 99, "start", None, {}, ws=[tick(n) for n in (1, 2, 3, 6, 8)],
                    chains=[Row("4-0", {}), Row("7-0", {})])
    window.commits = [
        committed(2, 1, "hydrate", "1-0..2-0"), committed(6, 2, "hydrate", "6-0"), committed(6, 3, "stage", "4-0"),
        committed(6, 4, "promote", "4-0"), committed(6, 5, "dormant", ""), committed(9, 6, "hydrate", "8-0"),
    ]
    moves = [
        ([row.id for _, row in move.ticks], move.chain.id if move.chain else "", move.told.kind if move.told else "")
        for move in moves_of(window)
    ]
    # 6 was hydrated before the chain was staged, and 3, which changed nothing, goes in before it.
    assert moves == [
        (["1-0", "2-0", "3-0", "6-0"], "4-0", ""), ([], "", "dormant"), ([], "7-0", ""), (["8-0"], "", ""),
    ]
    window.commits = []
    assert [[row.id for _, row in move.ticks] for move in moves_of(window)] == [
        ["1-0", "2-0", "3-0"], ["6-0"], ["8-0"],
    ]
