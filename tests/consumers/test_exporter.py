"""exporter: what a scrape says of a Redis, of the stages before it, and of whom Prometheus should scrape."""

import time

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from walrus import Database

from consumers.exporter import RedisCollector, discovery, run
from consumers.keeper import Keeper
from pipeline.database import connect
from pipeline.keys import Keys
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings
from tests.running import running
from tests.waiting import wait_until
from tests.world import STAGES, T0, World, quote, row, tickers

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(settings: Settings, database: Database) -> Series:
    """Through the text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(RedisCollector(settings, database))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name.removeprefix("marketswarm_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in families for sample in family.samples
    }


def of(series: Series, name: str, **labels: str) -> float:
    return series[name, tuple(sorted(labels.items()))]


@pytest.fixture(params=["flat", "tagged"])
def world(request: pytest.FixtureRequest, database: Database, settings: Settings) -> World:
    return World(database, settings.model_copy(update={"layout": request.param, "symbols": ("SPX", "NDX")}))


def test_an_empty_server_has_series_of_every_stage_and_none_of_what_is_not_there(world: World) -> None:
    series = scrape(world.settings, world.database)
    assert of(series, "redis_up") == 1
    assert of(series, "redis_memory_bytes") > 0
    assert of(series, "workers", stage="calculate") == 0
    assert of(series, "stage_lag_entries", stage="hydrate") == 0
    assert of(series, "drift_panes_total") == 0
    assert not [name for name, _ in series if name.startswith(("epoch_", "model_", "chain_"))]


def test_a_settled_world_is_told_by_stage_symbol_and_model(world: World) -> None:
    engines = [world.engine(stage) for stage in STAGES]
    world.chain([row(ticker) for ticker in tickers()])
    world.settle(engines)
    world.frame([quote(tickers()[0], 10.2, 10.9, T0 + 1000, 1)])
    time.sleep(0.002)  # ages are in whole milliseconds
    series = scrape(world.settings, world.database)
    assert of(series, "stage_lag_entries", stage="hydrate") == 1
    assert of(series, "stage_oldest_undelivered_seconds", stage="hydrate") > 0
    assert of(series, "stage_oldest_undelivered_seconds", stage="models") == 0
    assert of(series, "stream_entries", stream="ws") == 1
    assert of(series, "epoch_contracts", symbol="SPX") == len(tickers())
    assert of(series, "epoch_panes", symbol="SPX") == 1
    assert of(series, "dirty_panes", symbol="SPX") == 0
    assert of(series, "dirty_seconds", symbol="SPX") == 0
    assert of(series, "promotions_total") == 1
    assert of(series, "model_versions_total", symbol="SPX", model="heatmap") >= 1
    assert of(series, "model_age_seconds", symbol="SPX", model="gex") < 60

    engines[1].step()  # hydrate alone: its pane waits to be computed
    engines[2]._ensure_group()
    time.sleep(0.01)
    series = scrape(world.settings, world.database)
    assert of(series, "stage_lag_entries", stage="calculate") == 1
    assert of(series, "dirty_panes", symbol="SPX") == 1
    assert of(series, "dirty_seconds", symbol="SPX") > 0
    assert of(series, "analytics_total", source="hydrate", field="applied") == 1


def test_audits_are_counted(world: World) -> None:
    world.chain([row(ticker) for ticker in tickers()])
    world.settle([world.engine(stage) for stage in STAGES])
    Keeper(world.settings, world.database).audit()
    series = scrape(world.settings, world.database)
    assert of(series, "audited_panes_total") == 1
    assert of(series, "drift_panes_total") == 0


def test_the_provider_is_told_by_what_its_stages_have_noted(world: World) -> None:
    keys, now_ms = world.keys, int(time.time() * 1000)
    world.database.hset(keys.analytics("ws"), mapping={"state": "live", "connections": 3})
    world.database.hset(keys.analytics("ws", "SPX"), mapping={
        "events": 70, "last_frame_ms": now_ms, "last_frame_ms:SPX": now_ms - 2000, "subscribed:SPX": 1000,
    })
    world.database.hset(keys.analytics("chain", "SPX"), mapping={
        "failed_in_a_row:SPX": 2, "failures:busy": 4, "last_ok_ms:SPX": now_ms - 60_000, "last_latency_ms:SPX": 1500,
        "last_error:SPX": "429", "market": "closed",
    })
    series = scrape(world.settings, world.database)
    assert (of(series, "feed_live", source="ws"), of(series, "feed_live", source="spot")) == (1, 0)
    assert 1.5 < of(series, "feed_silence_seconds", symbol="SPX") < 60
    assert of(series, "feed_topics", symbol="SPX") == 1000
    assert 59 < of(series, "chain_age_seconds", symbol="SPX") < 120
    assert of(series, "chain_seconds", symbol="SPX") == 1.5
    assert of(series, "chain_failed_in_a_row", symbol="SPX") == 2
    assert of(series, "market_open") == 0
    counted = {labels for name, labels in series if name == "analytics_total"}
    assert {dict(labels)["field"] for labels in counted} == {"connections", "events", "failures:busy"}


def test_a_server_that_is_away_is_all_that_is_said(private_server: EmbeddedServer) -> None:
    database = connect(private_server.url)
    settings = Settings()
    assert of(scrape(settings, database), "redis_up") == 1
    private_server.stop()
    assert scrape(settings, database) == {("redis_up", ()): 0.0}


def test_discovery_lists_who_has_registered_lately(database: Database) -> None:
    keys, now_ms = Keys(), int(time.time() * 1000)

    def register(name: str, stage: str, metrics: str, age_ms: int = 0) -> None:
        record = {"stage": stage, "host": "h", "pid": 1, "metrics": metrics, "heartbeat": now_ms - age_ms}
        database.hset(keys.workers(), name, orjson.dumps(record))

    register("a", "hydrate", "http://10.0.0.2:9100")
    register("b", "hydrate", "http://[::1]:9100")
    register("c", "models", "http://10.0.0.3:9100", age_ms=120_000)
    assert orjson.loads(discovery(database, keys)) == [
        {"targets": ["10.0.0.2:9100"], "labels": {"role": "hydrate"}},
        {"targets": ["[::1]:9100"], "labels": {"role": "hydrate"}},
    ]


def test_the_stage_serves_both_and_lists_itself(database: Database, settings: Settings) -> None:
    with running("exporter", run, settings, database) as exporting:
        address = wait_until(lambda: exporting.life._health.address, "an address")
        listed = wait_until(lambda: httpx.get(f"{address}/discovery").json(), "its own registration")
        assert listed == [{"targets": [address.removeprefix("http://")], "labels": {"role": "exporter"}}]
        assert "marketswarm_stage_lag_entries" in httpx.get(f"{address}/metrics").text
        assert httpx.get(f"{address}/readyz").status_code == 200
