"""The dirty protocol under any order of steps: ticks, claims, commits, takeovers, deaths and resent calls (G5, G1).

The same world as the design's exhaustive check of the protocol, but played with the real engine, stages and scripts.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from walrus import Database

from pipeline.settings import Settings
from tests.properties import reference
from tests.properties.puppets import ACTIONS, Puppet
from tests.world import T0, World, quote, row, tickers

LISTED = tickers(strikes=(7540, 7560))
CAST = ("calculate", "calculate", "models", "models")
TICK = ("tick", "")
STEPS = st.lists(
    st.one_of(
        st.just(TICK), st.tuples(st.integers(0, 1), st.sampled_from(ACTIONS)),
        st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS)),
    ),
    max_size=60,
)
# One of two reads and claims; the other takes its entry over, claims after a tick and commits; then the first commits.
LATE_COMMIT = [TICK, (0, "go"), (0, "go"), TICK, (1, "go"), (1, "go"), (1, "go"), (0, "go"), (0, "go")]
# A claim's reply is lost with its consumer; another takes the entry over and must see what the claim took away.
LOST_CLAIM = [TICK, (0, "go"), (0, "die after"), (1, "go"), (1, "go"), (1, "go")]
# A second entry of a pane that is being computed must vanish, not take over.
TWO_ENTRIES = [TICK, (0, "go"), (0, "go"), TICK, (1, "go"), (1, "go"), TICK, (0, "go"), (1, "go"), (1, "go"), (0, "go")]
# The connection is lost between claim and commit: the same process claims again, what it remembers is half done.
ONE_TURN = [TICK, (0, "go"), (0, "go"), (0, "go")]
CUT_COMMIT = [*ONE_TURN, TICK, (0, "go"), (0, "go"), (0, "cut before"), (0, "go"), (0, "go")]


@pytest.fixture
def fresh(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Callable[[], World]:
    def make() -> World:
        database.flushdb()
        return World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=10))

    return make


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(steps=LATE_COMMIT)
@example(steps=LOST_CLAIM)
@example(steps=TWO_ENTRIES)
@example(steps=CUT_COMMIT)
@example(steps=[(2 if step[0] == 0 else 3 if step[0] == 1 else step[0], step[1]) for step in LATE_COMMIT])
@given(steps=STEPS)
def test_g5_no_order_of_steps_loses_a_mark(fresh: Callable[[], World], steps: list[tuple[Any, str]]) -> None:
    world = fresh()
    rows = [row(ticker) for ticker in LISTED]
    world.chain(rows)
    world.settle()
    hydrator = world.engine("hydrate")
    cast = [Puppet(world, stage) for stage in CAST]
    events = []
    try:
        for who, action in steps:
            if who == "tick":
                number = len(events) + 1
                ticker = LISTED[number % len(LISTED)]
                events.append(quote(ticker, 5 + number, 6 + number, T0 + number, number))
                world.frame(events[-1:])
                hydrator.step()
            else:
                cast[who].advance(action)
    finally:
        for puppet in cast:
            puppet.finish()
    engines = [world.engine(stage) for stage in ("calculate", "models", "hydrate")]
    for engine in engines:
        engine.stage.reclaim_idle_ms = 0
    world.settle(engines)
    contracts = reference.fold(rows, T0, events)
    made = reference.documents(
        "SPX", contracts, T0, (T0, 7550.0), world.settings.widths_of("SPX"), world.settings.rate
    )
    assert world.final() == {"contracts": contracts, "documents": made}
    epoch, keys = world.epoch(), world.keys
    assert world.database.keys(keys.dirty(epoch, "") + "*") == [], "no mark is left"
    assert world.database.keys(keys.lease(epoch, "") + "*") == [], "no lease is left"
    assert world.database.exists(keys.models_dirty("SPX"), keys.models_lease("SPX"), keys.dirty_panes(epoch)) == 0
    assert world.database.smembers(keys.epoch_clean("SPX")) == {epoch.encode()}
    assert world.database.exists(keys.epoch_dirty("SPX")) == 0
    assert world.database.xlen(keys.dead()) == 0
