"""The dirty protocol under any order of steps: ticks, claims, commits, takeovers, deaths and resent calls (G5, G1).

The same world as the design's exhaustive check of the protocol, but played with the real engine, stages and scripts.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from walrus import Database

from pipeline.models.documents import apply_diff
from pipeline.settings import Settings
from tests.properties import reference
from tests.properties.puppets import ACTIONS, Puppet
from tests.world import T0, World, quote, row, tickers

LISTED = tickers(strikes=(7540, 7560))
CAST = ("calculate", "calculate", "models", "models")
TICK = ("tick", "")
STEPS = st.lists(
    st.one_of(
        st.just(TICK), st.tuples(st.integers(0, 3), st.just("turn")), st.tuples(st.integers(0, 1), st.just("turn")),
        st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS)),
    ),
    max_size=40,
)
# One of two reads and claims; the other takes its entry over, claims after a tick and commits; then the first commits.
LATE_COMMIT = [TICK, (0, "go"), (0, "go"), TICK, (1, "turn"), (0, "go"), (0, "turn")]
# A claim's reply is lost with its consumer; another takes the entry over and must see what the claim took away.
LOST_CLAIM = [TICK, (0, "go"), (0, "die after"), (1, "turn")]
# A second entry of a pane that is being computed must vanish, not take over.
TWO_ENTRIES = [TICK, (0, "go"), (0, "go"), TICK, (1, "go"), (1, "go"), TICK, (0, "go"), (1, "turn"), (0, "turn")]
# The connection is lost between claim and commit: the same process claims again, what it remembers is half done.
CUT_COMMIT = [TICK, (0, "turn"), TICK, (0, "go"), (0, "go"), (0, "cut before"), (0, "turn")]
# The same, one level up: between the claim of a publisher and its publication, a pane is computed (and published).
COMPUTED = [TICK, (0, "turn")]
LATE_PUBLICATION = [
    *COMPUTED, (2, "go"), (2, "go"), *COMPUTED, (3, "turn"), *COMPUTED, (3, "turn"), (2, "go"), (2, "turn"),
]
MARKS_DURING_PUBLICATION = [*COMPUTED, (2, "go"), (2, "go"), *COMPUTED, (2, "go"), (2, "turn")]
LOST_PUBLISHER = [*COMPUTED, (2, "go"), (2, "die after"), (3, "turn")]


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
@example(steps=LATE_PUBLICATION)
@example(steps=MARKS_DURING_PUBLICATION)
@example(steps=LOST_PUBLISHER)
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
            elif action == "turn":
                cast[who].turn()
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
        "SPX", contracts, T0, [(T0, 7550.0)], world.settings.widths_of("SPX"), world.settings.rate
    )
    assert world.final() == {"contracts": contracts, "documents": made}
    document: dict[str, Any] = {}
    for kind, payload in world.publications("heatmap"):
        document = payload if kind == "full" else apply_diff(document, payload)
    assert document == world.model("heatmap"), "the diffs lead there too"
    epoch, keys = world.epoch(), world.keys
    assert world.database.keys(keys.dirty(epoch, "") + "*") == [], "no mark is left"
    assert world.database.keys(keys.lease(epoch, "") + "*") == [], "no lease is left"
    assert world.database.exists(keys.models_dirty("SPX"), keys.models_lease("SPX"), keys.dirty_panes(epoch)) == 0
    assert world.database.smembers(keys.epoch_clean("SPX")) == {epoch.encode()}
    assert world.database.exists(keys.epoch_dirty("SPX")) == 0
    assert world.database.xlen(keys.dead()) == 0
