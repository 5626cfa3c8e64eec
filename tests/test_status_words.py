"""What a document says of itself: live, delayed, stale, dormant or closed, decided by event time and the provider."""

from collections.abc import Callable

import pytest
from walrus import Database

from pipeline.publication import FACTS, LAID_OUT
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from tests.world import T0, World, quote, row, tickers

MINUTE = 60_000


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=10))
    world.chain([row(ticker) for ticker in tickers()], market="open")
    world.settle()
    return world


def words(world: World) -> set[str]:
    """The status of every document of the underlying."""
    return {world.model(name)["status"] for name in (*LAID_OUT, *FACTS)}


def tell_feed(world: World, event: str) -> None:
    keys, epoch = world.keys, world.epoch()
    Scripts(world.database).run(
        "dormant",
        {
            "active": keys.epoch_active("SPX"), "meta": keys.epoch_meta(epoch), "job": keys.chain_job("SPX"),
            "epochs": keys.stream("epoch", "SPX"),
        },
        {"symbol": "SPX", "epoch": epoch, "event": event, "ts": T0, "names": dict(keys.names("SPX", epoch))},
    )
    world.settle()


def test_an_open_market_that_speaks_is_live(world: World) -> None:
    assert words(world) == {"live"}


def test_the_last_model_of_a_closed_market_stays_and_says_so(world: World) -> None:
    before = world.model("heatmap")
    world.chain([row(ticker) for ticker in tickers()], ts=T0 + 1000, spot_ts=T0, market="closed")
    world.settle()
    after = world.model("heatmap")
    assert words(world) == {"closed"}
    assert after["panes"] == before["panes"]
    assert after["as_of"] == before["as_of"]
    world.chain([row(ticker) for ticker in tickers()], ts=T0 + 2000, spot_ts=T0, market="open")
    world.settle()
    assert words(world) == {"live"}


def test_a_silent_feed_is_dormant_until_it_speaks_again(world: World) -> None:
    tell_feed(world, "dormant")
    assert words(world) == {"dormant"}
    world.chain([row(ticker) for ticker in tickers()], ts=T0 + 1000, force=True, reason="dormant", market="open")
    world.settle()
    assert words(world) == {"dormant"}, "another epoch, and the feed is silent still"
    tell_feed(world, "resumed")
    assert words(world) == {"live"}


def test_quotes_that_stay_behind_spot_are_stale(world: World) -> None:
    world.spot(7551.0, T0 + 5 * MINUTE)
    world.settle()
    assert words(world) == {"stale"}
    assert world.model("gex")["levels"]["flip"]["value"] is None
    world.frame([quote(tickers()[0], 12.0, 13.0, T0 + 5 * MINUTE, 1)])
    world.settle()
    assert words(world) == {"live"}


def test_a_delayed_plan_says_so(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> None:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=10))
    rows = [row(ticker) for ticker in tickers()]
    for one in rows:
        one["last_quote"]["timeframe"] = "DELAYED"
    world.chain(rows, market="open")
    world.settle()
    assert words(world) == {"delayed"}
