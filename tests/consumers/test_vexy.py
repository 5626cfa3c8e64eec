"""vexy as a consumer group: the same documents once and in order, whatever dies, is sent again or is taken over."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walrus import Database

from consumers.vexy import INTEL_TTL_S, VexyStage
from pipeline.settings import Settings
from tests.folding import Feed, levels
from tests.properties.chaos import DECISIONS
from tests.world import T0, World, quote, row, tickers

PROPERTY = settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def make_feed(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Callable[..., Feed]:
    def make(**overrides: Any) -> Feed:
        database.flushdb()
        options = {"redis_url": redis_url, "symbols": ("SPX",), "block_ms": 10, **overrides}
        return Feed(database, make_settings(**options), VexyStage)

    return make


@pytest.mark.parametrize("consumers", [1, 3])
@PROPERTY
@given(
    steps=st.lists(st.sampled_from([100, 500, 1000, 5000]), min_size=1, max_size=12),
    plan=st.dictionaries(st.integers(1, 40), st.sampled_from(DECISIONS), max_size=12),
    batch_max=st.sampled_from([1, 256]),
)
def test_history_is_the_same_once_and_in_order_whatever_crashes(
    make_feed: Callable[..., Feed], consumers: int, steps: list[int], plan: dict[int, str], batch_max: int
) -> None:
    histories = []
    for many, what, most in ((1, {}, 256), (consumers, plan, batch_max)):
        feed, ts = make_feed(batch_max=most), T0
        for number, step in enumerate(steps):
            ts += step
            feed.publish("gex", number + 1, ts, spot=7550.0 + number, levels=levels())
        feed.settle(many, what)
        histories.append([entry["payload"] for entry in feed.rows(feed.keys.vexy_history("SPX"))])
        assert feed.database.get(feed.keys.vexy_intel("SPX")).decode() == histories[-1][-1]
        assert 0 < feed.database.ttl(feed.keys.vexy_intel("SPX")) <= INTEL_TTL_S
    assert histories[0] == histories[1]
    assert [orjson.loads(payload)["version"] for payload in histories[1]] == list(range(1, len(histories[1]) + 1))


@pytest.mark.parametrize("layout", ["flat", "tagged"])
def test_what_the_pipeline_publishes_becomes_facts(make_feed: Callable[..., Feed], layout: str) -> None:
    feed = make_feed(layout=layout)
    world = World(feed.database, feed.settings)
    listed = tickers()
    world.chain([row(ticker) for ticker in listed])
    world.settle()
    world.frame([quote(ticker, 14.0, 16.0, T0 + 5000, n + 1) for n, ticker in enumerate(listed[16:26])])
    world.settle()
    feed.settle()
    document = orjson.loads(feed.database.get(feed.keys.vexy_intel("SPX")))
    assert document["epoch"] == world.epoch()
    assert document["facts"]["spot"]["value"] == 7550.0
    assert feed.database.xlen(feed.keys.dead_of(feed.keys.stream("model", "SPX"))) == 0
