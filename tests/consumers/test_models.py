"""models: what is large is published in parts and pieces, and reads the same."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from walrus import Database

from consumers import models
from pipeline.models.documents import apply_diff
from pipeline.settings import Settings
from tests.properties import reference
from tests.properties.chaos import Chaos
from tests.world import STAGES, T0, World, quote, row, tickers

DAYS = (date(2026, 8, 21), date(2026, 8, 24), date(2026, 8, 25))
LISTED = tickers(days=DAYS, strikes=range(7500, 7565, 20))
ROWS = [row(ticker) for ticker in LISTED]
BURST = [quote(ticker, 3 + n / 4, 4 + n / 4, T0 + n, n + 1) for n, ticker in enumerate(LISTED)]
"""Every contract moves."""


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=10))
    world.chain(ROWS)
    return world


def followed(world: World, model: str) -> dict[str, Any]:
    """The first full document with every diff since applied in order."""
    document: dict[str, Any] = {}
    for kind, payload in world.publications(model):
        document = payload if kind == "full" else apply_diff(document, payload)
    return document


def versions(world: World) -> int:
    return int(world.model("heatmap")["version"])


def test_a_burst_is_published_in_parts_each_a_version_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [world.engine(stage) for stage in STAGES]
    world.settle(engines)
    before = versions(world)
    monkeypatch.setattr(models, "PART_BYTES", 1)
    world.frame(BURST)
    for stage, engine in zip(STAGES, engines, strict=True):
        while stage != "models" and engine.step():
            pass
    world.settle(engines)
    assert versions(world) - before == len(DAYS)
    for model in ("heatmap", "gex", "gex_calls", "gex_puts"):
        assert followed(world, model) == world.model(model)
    assert world.database.exists(world.keys.models_lease("SPX")) == 0
    changed = [payload["panes"] for kind, payload in world.publications("heatmap") if kind == "diff"]
    assert [list(panes) for panes in changed[-len(DAYS) :]] == [[f"{day}:SPXW"] for day in DAYS]


@pytest.mark.parametrize("decision", ["twice", "die before", "die after", "others first", "others after"])
@pytest.mark.parametrize("at", range(1, 6))
def test_whatever_befalls_a_publication_between_its_parts_the_end_is_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, decision: str, at: int
) -> None:
    monkeypatch.setattr(models, "PART_BYTES", 1)
    world.settle()
    world.frame(BURST)
    world.settle([world.engine(stage) for stage in ("hydrate", "calculate")])
    Chaos(world, 2, {at: decision}).settle()
    contracts = reference.fold(ROWS, T0, BURST)
    made = reference.documents(
        "SPX", contracts, T0, [(T0, 7550.0)], world.settings.widths_of("SPX"), world.settings.rate
    )
    assert world.final() == {"contracts": contracts, "documents": made}
    for model in ("heatmap", "gex", "gex_calls", "gex_puts"):
        assert followed(world, model) == world.model(model)


def test_a_large_payload_lies_under_a_key_that_its_entry_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "INLINE_BYTES", 1000)
    world.settle()
    entries = [fields for _, fields in world.database.xrange(world.keys.stream("model", "SPX"))]
    large = [fields for fields in entries if fields[b"payload_key"]]
    assert b"heatmap" in {fields[b"model"] for fields in large}
    assert all(fields[b"payload"] == b"" for fields in large)
    assert all(0 < world.database.ttl(fields[b"payload_key"]) <= 300 for fields in large)
    world.frame(BURST)
    world.settle()
    assert followed(world, "heatmap") == world.model("heatmap")


def test_what_an_attempt_wrote_that_was_given_up_is_not_in_the_next(world: World) -> None:
    Chaos(world, 1, {12: "die before"}).settle()
    assert followed(world, "heatmap") == world.model("heatmap")
