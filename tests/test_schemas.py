"""Every published document, diff and event against its schema, and schemas against documents that are broken."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from math import exp
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from pipeline.database import connect
from pipeline.models.documents import header
from pipeline.models.gravity import Gravity
from pipeline.models.intent import Intent
from pipeline.models.mode import Mode
from pipeline.models.records import (
    books_record,
    gravity_record,
    intent_record,
    levels_record,
    mode_record,
    profiles_record,
)
from pipeline.publication import LAID_OUT, MODELS, VIEWS
from pipeline.schemas import UnknownSchema, names, schema, schema_name
from pipeline.settings import Settings
from tests.models.smiling_chains import MONDAY, models_of, smiling_pane, with_values
from tests.valid import faults, validator
from tests.world import STAGES, T0, World, quote, row, tickers

MINUTE_MS = 60_000
ANNOUNCED = [model for model in MODELS if model not in VIEWS]
WITH_DIFFS = [model for model in LAID_OUT if model not in VIEWS]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a world published: documents as they stand, and every entry of the model stream in order."""

    documents: dict[str, bytes]
    entries: list[tuple[str, str, bytes]]
    spot: bytes
    minutes: list[bytes]

    def model(self, name: str) -> Document:
        parsed: Document = orjson.loads(self.documents[name])
        return parsed


def fairly_priced(ticker: str, ts: int = T0, spot: float = 7550.0, scale: float = 1.0) -> Document:
    """A chain row with a volatility, of a market that holds calls above spot and puts below."""
    away = int(ticker[-8:]) / 1000 - spot
    worth = max(-away if ticker[-9] == "C" else away, 0.0) + 20.0 * exp(-abs(away) / 30.0)
    return row(ticker, round(worth - 0.1, 2), round(worth + 0.1, 2), ts, oi=scale * (100.0 if worth <= 20.0 else 40.0))


@pytest.fixture(scope="module")
def lively(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A world that has seen ticks, bad and lost quotes, two spots, a refresh, and an epoch change."""
    database = connect(redis_url)
    database.flushdb()
    world = World(database, Settings(
        data_dir=tmp_path_factory.mktemp("data"), redis_url=SecretStr(redis_url), greeks_interval_s=0,
    ))
    engines = [world.engine(stage) for stage in STAGES]
    listed = tickers(days=(date(2026, 8, 21), date(2026, 8, 24)), strikes=range(7500, 7605, 10))
    world.chain([fairly_priced(ticker) for ticker in listed])
    world.settle(engines)
    for at, (bid, ask) in enumerate([(9.0, 9.5), (12.0, 11.0), (0.0, 0.0), (0.05, 0.1)], start=1):
        world.frame([quote(listed[2 * at], bid, ask, T0 + at * 1000, at)])
        world.settle(engines)
    for minute, price in ((2, 7560.25), (3, 7561.0)):
        world.spot(price, T0 + minute * MINUTE_MS)
        world.settle(engines)
    refreshed, changed = T0 + 4 * MINUTE_MS, T0 + 5 * MINUTE_MS
    world.chain([fairly_priced(ticker, refreshed, scale=2.5) for ticker in listed], refreshed)
    world.settle(engines)
    first = world.epoch()
    world.chain([fairly_priced(ticker, changed) for ticker in tickers("SPX") + listed], changed, spot=None)
    world.settle(engines)
    assert world.epoch() != first
    seen = Seen(
        {model: database.get(world.keys.model(model, "SPX")) for model in MODELS},
        [(fields[b"model"].decode(), fields[b"kind"].decode(), fields[b"payload"])
         for _, fields in database.xrange(world.keys.stream("model", "SPX"))],
        database.get(world.keys.spot("SPX")),
        database.zrange(world.keys.gravity_minutes("SPX"), 0, -1),
    )
    database.flushdb()
    database.connection_pool.disconnect()
    return seen


def headed(record: Document, name: str) -> Document:
    """A record as the document of a model, by way of JSON."""
    fields = header(
        f"{name}/1", symbol="SPX", epoch=f"SPX:{T0}:0a1b2c", version=1, ts=T0, as_of={"quotes": T0},
        spot=5000.0, status="live", coverage=None,
    )
    parsed: Document = orjson.loads(orjson.dumps({**fields, **record}))
    return parsed


# --- what is published ---
def test_every_document_and_every_entry_of_the_model_stream_is_valid(lively: Seen) -> None:
    for model in MODELS:
        assert faults(schema_name(model), lively.model(model)) == [], model
    for model, kind, payload in lively.entries:
        assert faults(schema_name(model, kind), orjson.loads(payload)) == [], (model, kind)
    seen = {(model, kind) for model, kind, _ in lively.entries}
    assert seen == {(model, "full") for model in ANNOUNCED} | {(model, "diff") for model in WITH_DIFFS}
    assert lively.minutes
    for minute in lively.minutes:
        assert faults("dealer_gravity-minute", orjson.loads(minute)) == []
    assert faults("spot", orjson.loads(lively.spot)) == []


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_schema_of_its_documents_and_of_its_diffs(model: str) -> None:
    assert schema(schema_name(model))
    if model in WITH_DIFFS:
        assert schema(schema_name(model, "diff"))
    else:
        with pytest.raises(UnknownSchema):
            schema_name(model, "diff")


@pytest.mark.parametrize("name", names())
def test_every_schema_is_one_and_stands_alone(name: str) -> None:
    own = validator(name).schema
    assert own["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert own["$id"].rpartition(":")[2] == name
    assert faults(name, {}), "nothing at all is no document"


def test_a_model_without_a_schema_is_told() -> None:
    with pytest.raises(UnknownSchema):
        schema_name("orders")
    with pytest.raises(UnknownSchema):
        schema_name("heatmap", "patch")
    with pytest.raises(UnknownSchema):
        schema("../secrets")


# --- the records that are documents by themselves, and those within the net GEX document ---
KNOWN = models_of([smiling_pane(), smiling_pane(expiration=MONDAY)])
UNKNOWN = models_of([with_values(smiling_pane(), open_interest=smiling_pane().values.iv)])
EMPTY = models_of([], 5000.0, T0)


@pytest.mark.parametrize("models", [KNOWN, UNKNOWN, EMPTY], ids=["known", "no open interest", "no pane"])
def test_derived_models_are_valid_whether_known_or_not(models: Any) -> None:
    constants = models.constants
    for name, record in (
        ("market_mode", mode_record(models.mode, constants)),
        ("liquidity_intent", intent_record(models.intent, constants)),
        ("dealer_gravity", gravity_record(models.gravity, constants)),
    ):
        assert faults(name, headed(record, name)) == [], name


@pytest.mark.parametrize("models", [KNOWN, UNKNOWN, EMPTY], ids=["known", "no open interest", "no pane"])
def test_the_members_of_net_gex_are_valid_whether_known_or_not(models: Any, lively: Seen) -> None:
    document = {
        **lively.model("gex"),
        **orjson.loads(orjson.dumps({
            "books": books_record(models, "2026-08-19"), "vanna": dict(models.vanna), "charm": dict(models.charm),
            "levels": levels_record(models.levels), "profile": profiles_record(models.profiles),
        })),
    }
    assert faults("gex", document) == []
    document["levels"]["reasons"] = {"call_wall": None}
    assert faults("gex", document), "a reason is a word"


def test_the_heatmap_of_one_strategy_is_not_the_whole_one(lively: Seen) -> None:
    whole = lively.model("heatmap")
    assert faults("heatmap-view", whole)
    for name in VIEWS:
        view = lively.model(name)
        assert faults("heatmap", view)
        last = list(view["panes"])[-1]
        view["panes"][last] = whole["panes"][last]
        assert faults("heatmap-view", view), "one strategy, and the same in every pane"


# --- what is broken ---
def _without(name: str) -> Callable[[Document], None]:
    return lambda document: document.pop(name)


def _with(**changes: Any) -> Callable[[Document], None]:
    return lambda document: document.update(changes)


BROKEN: dict[str, Callable[[Document], Any]] = {
    **{f"no {name}": _without(name) for name in
       ("schema", "symbol", "epoch", "version", "ts", "as_of", "spot", "status", "coverage")},
    "another schema": _with(schema="heatmap/2"),
    "a status nobody knows": _with(status="fine"),
    "no version": _with(version=0),
    "a time with a fraction": _with(ts=T0 + 0.5),
    "an epoch without a number": _with(epoch="SPX"),
    "a share above one": _with(coverage=1.01),
    "a spot of nothing": _with(spot=0),
    "something more": _with(more=1),
    "half an as_of": lambda document: document["as_of"].pop("oi_date"),
    "a day that is none": lambda document: document["as_of"].update(oi_date="yesterday"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_header_breaks_every_document(how: str, lively: Seen) -> None:
    for model in MODELS:
        document = lively.model(model)
        BROKEN[how](document)
        assert not validator(schema_name(model)).is_valid(document), model


def _first(document: Document) -> Document:
    pane: Document = next(iter(document["panes"].values()))
    return pane


BROKEN_HEATMAPS: dict[str, Callable[[Document], Any]] = {
    "a tile that is text": lambda d: _first(d)["butterfly"]["call"]["mid"][0].__setitem__(0, "1.5"),
    "a single of rows": lambda d: _first(d)["single"]["put"].update(mid=[[1.0]]),
    "no pricing": lambda d: _first(d)["vertical"]["put"].pop("sell"),
    "a strategy more": lambda d: _first(d).update(condor={}),
    "a head that lacks": lambda d: _first(d).pop("iv_sources"),
    "a pane without a root": lambda d: d["panes"].update({"2026-08-21": _first(d)}),
    "no strikes": lambda d: _first(d).update(strikes=[]),
    "a violation of another kind": lambda d: _first(d).update(violations=[{"kind": "odd"}]),
    "afternoon in words": lambda d: _first(d).update(settlement="afternoon"),
}


@pytest.mark.parametrize("how", BROKEN_HEATMAPS)
def test_a_broken_heatmap_is_not_valid(how: str, lively: Seen) -> None:
    document = lively.model("heatmap")
    BROKEN_HEATMAPS[how](document)
    assert faults("heatmap", document)


def test_broken_gex_is_not_valid(lively: Seen) -> None:
    for change in (
        lambda d: d["by_strike"].update({"7500": 1.5}), lambda d: d["by_strike"].update({"7500.0001": 1}),
        lambda d: d["totals"].update(net=None), lambda d: d["buckets"].pop("31+"),
        lambda d: d.update(sign_model="clever"),
    ):
        document = lively.model("gex")
        change(document)
        assert faults("gex", document)
    side = lively.model("gex_puts")
    side["expirations"]["2026-08-21:SPXW"]["7500"] = "0"
    assert faults("gex-side", side)


def test_a_broken_diff_is_not_valid(lively: Seen) -> None:
    found = {
        model: next(
            orjson.loads(payload) for name, kind, payload in lively.entries
            if name == model and kind == "diff" and b'"panes"' in payload
        )
        for model in ("heatmap", "gex")
    }
    for model, payload in found.items():
        name = schema_name(model, "diff")
        assert faults(name, payload) == []
        assert faults(name, {**payload, "base": None})
        assert faults(name, {**payload, "panes": {}})
        assert faults(schema_name(model), payload), "a diff is no document"
    tiles = {"2026-08-21:SPXW": {"condor:call:mid": {"i": [0], "v": [1.0]}}}
    assert faults("heatmap-diff", {**found["heatmap"], "panes": tiles})


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("market_mode", mode_record(Mode(None, None, None, None, None), 1)),
        ("market_mode", mode_record(Mode(50.0, "flat", 0.0, 0.0, "transition"), 1)),
        ("market_mode", mode_record(Mode(101.0, None, 0.0, 0.0, "expansion"), 1)),
        ("market_mode", {**mode_record(KNOWN.mode, 1), "label": "calm"}),
        ("liquidity_intent", intent_record(Intent(None, 1.0, 1.0, 1.0, 50.0), 1)),
        ("liquidity_intent", intent_record(Intent("flat", 1.0), 1)),
        ("dealer_gravity", gravity_record(Gravity(None), 1)),
        ("dealer_gravity", gravity_record(Gravity("flat", best=7600.0), 1)),
        ("dealer_gravity", gravity_record(Gravity("bored"), 1)),
    ],
)
def test_a_value_without_its_reason_or_with_one_is_not_valid(name: str, record: Document) -> None:
    assert faults(name, headed(record, name))


# --- events ---
def test_an_event_of_vigil() -> None:
    event = {"type": "flip_crossed", "symbol": "SPX", "severity": "warning", "ts": T0, "key": "SPX:flip:1",
             "evidence": {"flip": 7600.0, "spot": 7601.5}}
    assert faults("vigil-event", event) == []
    for change in ({"type": "boredom"}, {"severity": "loud"}, {"evidence": "{}"}, {"key": ""}, {"more": 1}):
        assert faults("vigil-event", {**event, **change})


def test_the_intel_of_vexy() -> None:
    facts = schema("vexy-intel")["properties"]["facts"]["required"]
    fact = {"age_ms": 1000, "text": "Spot stands at 7600."}
    intel = headed({"facts": dict.fromkeys(facts, fact)}, "vexy-intel")
    assert faults("vexy-intel", intel) == []
    intel["facts"]["flip"] = {"age_ms": None}
    assert faults("vexy-intel", intel)
