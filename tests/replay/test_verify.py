"""G7b: every version that was published live is made again from the record, byte for byte."""

import random
from collections.abc import Callable

import pytest
from walrus import Database

from consumers.keeper import Keeper
from pipeline.publication import HEATMAP, MODELS
from pipeline.replay.explain import explain
from pipeline.replay.verify import Report, Verification
from pipeline.replay.window import Window, read_window
from pipeline.settings import Settings
from tests.properties.chaos import DECISIONS, Chaos
from tests.replay.sessions import Session, now_ms, session_settings
from tests.world import World


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    return World(database, session_settings(make_settings, redis_url))


def play(world: World, seed: int, events: int, consumers: int) -> Chaos:
    """A session while ``consumers`` of every stage are killed, resent and interleaved; all of it done at the end."""
    drawn = random.Random(seed)
    plan = {number: drawn.choice(DECISIONS) for number in drawn.sample(range(1, 3000), 150)}
    chaos = Chaos(world, consumers, plan, batch_max=8)
    for _ in Session(world, seed, events).moves():
        for _ in range(drawn.randint(1, 3)):
            for index in drawn.sample(range(len(chaos.engines)), len(chaos.engines)):
                chaos.step(index)
    chaos.settle()
    return chaos


def recorded(world: World) -> Window:
    return read_window(
        world.database, world.keys, "SPX", 0, now_ms(world.database), world.settings, with_versions=True
    )


def verified(world: World, window: Window, name: str = "v") -> Report:
    return Verification(window, window.settings_of(world.settings, name), world.database).run()


def test_every_version_published_by_four_consumers_that_died_is_made_again(world: World) -> None:
    chaos = play(world, seed=7, events=900, consumers=4)
    assert chaos.deaths > 5
    window = recorded(world)
    promoted = [commit for commit in window.commits if commit.kind == "promote"]
    assert len(promoted) == 4
    assert {"hydrate", "spot", "stage", "refresh", "dormant", "resumed"} <= {commit.kind for commit in window.commits}
    report = verified(world, window)
    assert (report.total_differences, report.early, report.lost) == (0, 0, 0)
    assert report.versions == len(window.versions) > 100
    tamper_with_a_quote(window)
    tampered = Verification(window, window.settings_of(world.settings, "tampered"), world.database)
    found = tampered.run()
    assert found.differences > 0
    assert found.first is not None
    said = "\n".join(explain(window, found.first, tampered.epoch(found.first.version.epoch)))
    assert found.first.version.model in said
    assert "live" in said
    assert "here" in said


def test_documents_are_left_as_they_were_at_the_version_stopped_at(world: World) -> None:
    play(world, seed=8, events=400, consumers=1)
    window = recorded(world)
    newest = max(int(row.text("version")) for row in window.versions if row.text("model") == HEATMAP)
    for stop_at, name in ((newest // 2, "half"), (None, "whole")):
        settings = window.settings_of(world.settings, name)
        verification = Verification(window, settings, world.database)
        assert verification.run(stop_at=stop_at).stopped_at == stop_at
        verification.store_documents()
        replica = World(world.database, settings)
        assert replica.model(HEATMAP)["version"] == (stop_at or newest)
        if stop_at is None:
            for model in MODELS:
                stored = [world.database.get(keys.model(model, "SPX")) for keys in (world.keys, replica.keys)]
                assert stored[0] == stored[1], model


def tamper_with_a_quote(window: Window) -> None:
    """One digit of one frame, early in the window: the proof that the comparison sees anything at all."""
    for row in window.ws[:40]:
        row.fields[b"payload"] = row.fields[b"payload"].replace(b'"bp":1', b'"bp":2')


def test_a_window_that_begins_at_a_base_frame_is_verified_once_every_pane_was_published(world: World) -> None:
    drawn, chaos = random.Random(3), Chaos(world, 2, {})
    began = 0
    for number, _ in enumerate(Session(world, 3, 1000).moves()):
        for index in drawn.sample(range(len(chaos.engines)), len(chaos.engines)):
            chaos.step(index)
        if number == 14:
            Keeper(world.settings, world.database).audit()
            began = now_ms(world.database)
    chaos.settle()
    window = read_window(
        world.database, world.keys, "SPX", began, now_ms(world.database), world.settings, with_versions=True
    )
    assert window.base == "frame"
    report = verified(world, window)
    assert (report.total_differences, report.lost) == (0, 0)
    assert report.versions > 50
    assert 0 < report.early < report.versions / 2
