"""vigil as a consumer group: every event once and in order, whatever dies, is sent again or is taken over."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walrus import Database

from consumers.keeper import Keeper
from consumers.vigil import VigilStage
from pipeline import vigil
from pipeline.folding import Seen
from pipeline.settings import Settings
from tests.folding import EPOCH, Feed, header, levels
from tests.properties.chaos import DECISIONS
from tests.waiting import wait_until
from tests.world import T0

PROPERTY = settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
SPOTS = st.lists(st.tuples(st.sampled_from(["SPX", "NDX"]), st.sampled_from([7450.0, 7490.0, 7510.0, 7550.0])),
                 min_size=1, max_size=14)
PLANS = st.dictionaries(st.integers(1, 40), st.sampled_from(DECISIONS), max_size=12)


@pytest.fixture
def make_feed(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Callable[..., Feed]:
    def make(**overrides: Any) -> Feed:
        database.flushdb()
        options = {"redis_url": redis_url, "symbols": ("SPX", "NDX"), "block_ms": 10, **overrides}
        return Feed(database, make_settings(**options), VigilStage)

    return make


def events(feed: Feed, symbol: str = "SPX") -> list[dict[str, str]]:
    return feed.rows(feed.keys.vigil_events(symbol))


@pytest.mark.parametrize("layout", ["flat", "tagged"])
def test_an_event_is_written_with_its_evidence(make_feed: Callable[..., Feed], layout: str) -> None:
    feed = make_feed(layout=layout)
    feed.publish("gex", 1, T0, spot=7510.0, levels=levels(7500.0))
    feed.publish("gex", 2, T0 + 1000, spot=7490.0, levels=levels(7500.0))
    feed.settle()
    (event,) = events(feed)
    assert event.pop("key") == f"flip_crossed:SPX:below:{T0}"
    evidence = orjson.loads(event.pop("evidence"))
    assert (evidence["spot_before"], evidence["spot"], evidence["flip"], evidence["moved"]) == (
        7510.0, 7490.0, 7500.0, "spot"
    )
    assert event == {"type": "flip_crossed", "symbol": "SPX", "severity": "warning", "ts": str(T0 + 1000)}


def expected(published: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """What folding each underlying's publications one after the other tells."""
    states: dict[str, vigil.State] = {}
    told = []
    for number, (symbol, spot) in enumerate(published):
        ts = T0 + number * 61_000
        epoch = EPOCH.replace("SPX", symbol)
        body = {**header(ts, spot=spot, symbol=symbol, epoch=epoch), "levels": levels(7500.0)}
        made = Seen(symbol, "gex", "full", epoch, number + 1, ts, body)
        states[symbol], found = vigil.step(states.get(symbol, vigil.State()), made)
        told += [(event.key, event.severity) for event in found]
    return told


@pytest.mark.parametrize("consumers", [1, 2, 3])
@PROPERTY
@given(published=SPOTS, plan=PLANS, batch_max=st.sampled_from([1, 2, 256]))
def test_every_event_is_told_once_whatever_crashes(
    make_feed: Callable[..., Feed], consumers: int, published: list[tuple[str, float]], plan: dict[int, str],
    batch_max: int,
) -> None:
    # Entries are taken over after a millisecond: turns of a slow machine are no attempts.
    feed = make_feed(batch_max=batch_max, attempts_max=100)
    for number, (symbol, spot) in enumerate(published):
        feed.publish("gex", number + 1, T0 + number * 61_000, symbol, spot=spot, levels=levels(7500.0))
        feed.append("model", symbol, model="heatmap", payload=b"not even read")
    feed.settle(consumers, plan)
    found = [(event["key"], event["severity"]) for event in events(feed)]
    for symbol in ("SPX", "NDX"):
        mine = [one for one in found if f":{symbol}:" in one[0]]
        assert mine == [one for one in expected(published) if f":{symbol}:" in one[0]], "once, and in order"
    assert feed.database.xlen(feed.keys.dead()) == 0


def test_an_older_entry_in_another_s_hands_is_waited_for(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed(batch_max=1)
    feed.publish("gex", 1, T0, spot=7510.0, levels=levels(7500.0))
    feed.publish("gex", 2, T0 + 61_000, spot=7490.0, levels=levels(7500.0))
    stream, first, second = feed.keys.stream("model", "SPX"), feed.engine(), feed.engine()
    second.stage.reclaim_idle_ms = first.stage.reclaim_idle_ms = 3_600_000
    first._ensure_group()
    held = first._read()
    second.step()
    assert feed.database.xpending(stream, "vigil")["pending"] == 2, "nothing was folded before the first"
    first._handle(held)
    second._retries = [(0.0, *rest) for _, *rest in second._retries]  # type: ignore[misc]
    second.step()
    assert feed.database.xpending(stream, "vigil")["pending"] == 0
    assert [event["type"] for event in events(feed)] == ["flip_crossed"]


def test_what_comes_before_a_held_entry_goes_on(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed()
    ids = [feed.publish("gex", number, T0 + number, spot=7510.0) for number in (1, 2, 3)]
    engine = feed.engine()
    engine.stage.reclaim_idle_ms = 3_600_000
    engine._ensure_group()
    entries = engine._read()
    stream = feed.keys.stream("model", "SPX")
    feed.database.xclaim(stream, "vigil", "another", 0, [ids[1]])
    engine._handle([entry for entry in entries if entry.id != ids[1]])
    left = [row["message_id"].decode() for row in feed.database.xpending_range(stream, "vigil", "-", "+", 9)]
    assert left == ids[1:]


def test_a_group_made_again_tells_nothing_twice(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed()
    feed.publish("gex", 1, T0, spot=7510.0, levels=levels(7500.0))
    feed.publish("gex", 2, T0 + 61_000, spot=7490.0, levels=levels(7500.0))
    feed.append("epoch", event="promoted", epoch=EPOCH, previous="", reason="startup", ts=T0)
    feed.settle()
    before = events(feed)
    assert {event["type"] for event in before} == {"flip_crossed", "epoch_promoted"}
    for noun in ("model", "epoch"):
        feed.database.xgroup_destroy(feed.keys.stream(noun, "SPX"), "vigil")
    feed.settle()
    assert events(feed) == before


def test_epoch_events_are_told_and_a_retired_epoch_is_not(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed()
    for number, event in enumerate(("promoted", "dormant", "dormant", "resumed", "retired")):
        feed.append("epoch", event=event, epoch=EPOCH, previous="", reason="x", ts=T0 + number)
    feed.settle()
    assert [event["type"] for event in events(feed)] == ["epoch_promoted", "feed_dormant", "feed_resumed"]


def test_a_publication_that_is_none_is_buried_and_its_neighbours_are_folded(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed()
    feed.publish("gex", 1, T0, spot=7510.0, levels=levels(7500.0))
    feed.append("model", model="gex", kind="full", epoch=EPOCH, version=2, ts=T0, payload=b"{")
    feed.publish("gex", 3, T0 + 61_000, spot=7490.0, levels=levels(7500.0))
    feed.settle()
    assert [event["type"] for event in events(feed)] == ["flip_crossed"]
    assert [letter["stage"] for letter in feed.rows(feed.keys.dead())] == ["vigil"]


def test_entries_of_underlyings_that_are_not_ours_are_left_alone(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed()
    feed.publish("gex", 1, T0, "RUT", spot=2000.0, levels=levels(7500.0))
    feed.settle()
    assert not feed.database.exists(feed.keys.vigil_state("RUT"))


def test_a_group_that_nobody_serves_holds_its_stream_no_longer(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed(consumer_idle_s=0.001)
    feed.publish("gex", 1, T0, spot=7510.0)
    feed.settle()
    keeper, stream = Keeper(feed.settings, feed.database), feed.keys.stream("model", "SPX")
    wait_until(lambda: keeper.reap() or not feed.database.xinfo_groups(stream), "the keeper to let it go")
