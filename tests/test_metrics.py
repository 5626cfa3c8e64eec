"""What a worker counts of its own work: against work that was done by hand."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from walrus import Database

from pipeline import metrics
from pipeline.entry import Entry
from pipeline.metrics import ProviderDelay, observe_way
from pipeline.settings import Settings
from tests.world import STAGES, T0, World, quote, row, tickers

Grown = Callable[..., float]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"marketswarm_{name}", labels) or 0.0


@pytest.fixture
def grown() -> Grown:
    """How much a series has grown since it was first asked for; the registry is the process's."""
    began: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def ask(name: str, **labels: str) -> float:
        now = value(name, **labels)
        return now - began.setdefault((name, tuple(sorted(labels.items()))), now)

    return ask


def test_events_are_counted_by_what_became_of_them(database: Database, settings: Settings, grown: Grown) -> None:
    world = World(database, settings)
    engines = [world.engine(stage) for stage in STAGES]
    world.chain([row(ticker) for ticker in tickers()])
    world.settle(engines)
    outcomes = ("events", "conflated", "applied", "stale", "geometry_miss", "bad_ticker")
    for outcome in outcomes:
        grown("events_total", stage="hydrate", outcome=outcome)
    known, unknown = tickers()[0], tickers(strikes=[9000])[0]
    world.frame([
        quote(known, 10.1, 11.1, T0 + 1000, 1), quote(known, 10.2, 11.2, T0 + 2000, 2),
        quote(known, 10.3, 11.3, T0 + 3000, 3), quote(unknown, 1.0, 2.0, T0 + 3000, 4), quote("O:?", 1.0, 2.0, T0, 5),
    ])
    world.settle(engines)
    counted = {outcome: grown("events_total", stage="hydrate", outcome=outcome) for outcome in outcomes}
    assert counted == {
        "events": 4, "conflated": 2, "applied": 1, "stale": 0, "geometry_miss": 1, "bad_ticker": 1,
    }


def test_every_stage_of_the_way_and_its_scripts_are_timed(database: Database, settings: Settings, grown: Grown) -> None:
    world = World(database, settings)
    engines = [world.engine(stage) for stage in STAGES]
    world.chain([row(ticker) for ticker in tickers()])
    world.settle(engines)
    asked = [("latency_seconds_count", {"stage": stage}) for stage in ("hydrate", "calculate", "models")]
    asked += [("tick_seconds_count", {"stage": stage}) for stage in ("calculate", "models")]
    for script in ("hydrate", "claim_panes", "commit_panes", "publish"):
        asked += [("script_calls_total", {"script": script}), ("script_seconds_total", {"script": script})]
    for name, labels in asked:
        grown(name, **labels)
    world.frame([quote(tickers()[0], 10.5, 12.5, T0 + 1000, 1)])
    world.settle(engines)
    assert all(grown(name, **labels) > 0 for name, labels in asked)
    assert value("latency_seconds_sum", stage="models") < 600, "seconds, not milliseconds"


def test_what_a_script_refuses_is_counted_by_its_reason(database: Database, settings: Settings, grown: Grown) -> None:
    world = World(database, settings)
    engine, stream = world.engine("normalize"), world.keys.stream("chain", "SPX")
    done = world.chain([row(ticker) for ticker in tickers()])
    engine.step()
    grown("script_refusals_total", script="begin", reason="gone")
    again = Entry(stream, done, database.xrange(stream, done, done)[0][1])
    engine.stage.commit([again], engine.consumer)
    assert grown("script_refusals_total", script="begin", reason="gone") == 1


def test_the_way_is_told_by_ids_and_what_is_no_id_is_passed_over(grown: Grown) -> None:
    grown("tick_seconds_count", stage="testing")
    assert observe_way("testing", "1787239200000-0", [b"", b"0-0", b"no id"]) >= 0.0
    assert grown("tick_seconds_count", stage="testing") == 0
    observe_way("testing", "1787239200000-0", [b"1787239200000-0", b""])
    assert grown("tick_seconds_count", stage="testing") == 1


@pytest.mark.parametrize(("delays_ms", "told_ms"), [
    ([20, 30, 25], 75),  # clocks in step
    ([900_020, 900_030], 1_800_050),  # a delayed plan is delayed
    ([-7_200_000, -7_199_950, -7_199_990], 60),  # a session on a clock of its own: beyond the least
    ([90_000_000, 90_000_040], 40),
])  # fmt: skip
def test_a_delay_is_what_it_is_unless_the_clocks_are_apart(delays_ms: list[int], told_ms: int, grown: Grown) -> None:
    grown("provider_delay_seconds_sum", stage="testing")
    delay = ProviderDelay("testing")
    for delay_ms in delays_ms:
        delay.observe(T0 + delay_ms, T0)
    assert grown("provider_delay_seconds_sum", stage="testing") == pytest.approx(told_ms / 1000, abs=1e-6)


def test_series_exist_before_anything_has_happened() -> None:
    metrics.begin("vexy")
    for name in ("entries_committed_total", "entries_dead_total", "retries_total"):
        assert REGISTRY.get_sample_value(f"marketswarm_{name}", {"stage": "vexy"}) is not None
