"""The guarantees G1 to G7a and G9 of the README, each under every order of events that hypothesis can think of."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walrus import Database

from pipeline.audit import audit_epoch
from pipeline.epochs import Epochs
from pipeline.models.documents import apply_diff
from pipeline.publication import MODELS, VIEWS
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from tests.properties import reference
from tests.properties.chaos import DECISIONS, Chaos
from tests.world import STAGES, T0, World, quote, row, tickers

MONTHLY = date(2026, 9, 18)
LISTED = [
    *tickers("SPXW", [date(2026, 8, 21), MONTHLY], range(7520, 7585, 20)),
    *tickers("SPX", [MONTHLY], (7520, 7540, 7560)),
]
STRANGERS = tickers("SPXW", [date(2026, 8, 24)], (7500, 7600))
BROKEN_FRAMES = [b"{", b"[1,", b"null", b'{"ev":"Q"}', b"\xff\xfe", b""]
CENTS = st.integers(1, 400).map(lambda n: n / 20)
PROPERTY = settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def quotes(draw: st.DrawFn, listed: list[str] = LISTED) -> dict[str, Any]:
    bid = draw(CENTS)
    return quote(
        draw(st.sampled_from(listed)), bid, bid + draw(CENTS), T0 + draw(st.integers(0, 90_000)),
        draw(st.integers(1, 10**6)), bs=draw(st.integers(0, 9)),
    )


@st.composite
def trades(draw: st.DrawFn, listed: list[str] = LISTED) -> dict[str, Any]:
    return {"ev": "T", "sym": draw(st.sampled_from(listed)), "p": draw(CENTS), "s": draw(st.integers(1, 50)),
            "t": T0 + draw(st.integers(0, 90_000)), "q": draw(st.integers(1, 10**6))}


@st.composite
def aggregates(draw: st.DrawFn, listed: list[str] = LISTED) -> dict[str, Any]:
    at = draw(st.integers(1, 90))
    return {"ev": "A", "sym": draw(st.sampled_from(listed)), "av": at * 10, "e": T0 + at * 1000}


def _distinct(events: list[dict[str, Any]]) -> bool:
    """The provider numbers the events of a ticker: no two of a kind share time and number."""
    seen = [(event["ev"], event["sym"], event.get("t"), event.get("q"), event.get("e")) for event in events]
    return len(set(seen)) == len(seen)


EVENTS = st.lists(st.one_of(quotes(), quotes(), trades(), aggregates()), min_size=1, max_size=30).filter(_distinct)
FEW = LISTED[:2]
CROWDED_EVENTS = st.lists(
    st.one_of(quotes(FEW), quotes(FEW), trades(FEW), aggregates(FEW)), min_size=6, max_size=20
).filter(_distinct)
SPOTS = st.lists(
    st.tuples(st.integers(1, 200_000).map(lambda ms: T0 + ms), st.integers(7500, 7600).map(float)),
    max_size=4, unique_by=lambda spot: spot[0],
)
PLANS = st.dictionaries(st.integers(1, 120), st.sampled_from(DECISIONS), max_size=25)


def chain_rows() -> list[dict[str, Any]]:
    return [
        row(ticker, bid=10 + number / 4, ask=11 + number / 4, oi=100 + number) for number, ticker in enumerate(LISTED)
    ]


@pytest.fixture
def fresh(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Callable[[], World]:
    def make() -> World:
        database.flushdb()
        return World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=10))

    return make


def expected(world: World, events: list[dict[str, Any]], spots: list[tuple[int, float]]) -> dict[str, Any]:
    contracts = reference.fold(chain_rows(), T0, events)
    return {"contracts": contracts, "documents": _documents(world, contracts, T0, [(T0, 7550.0), *spots])}


def _documents(
    world: World, contracts: dict[str, dict[str, str]], chain_ts: int, spots: list[tuple[int, float]]
) -> dict[str, Any]:
    return reference.documents(
        "SPX", contracts, chain_ts, spots, world.settings.widths_of("SPX"), world.settings.rate
    )


def feed(world: World, events: list[dict[str, Any]], spots: list[tuple[int, float]], per_frame: int) -> None:
    for first in range(0, len(events), per_frame):
        world.frame(events[first : first + per_frame])
    for ts, price in spots:
        world.spot(price, ts)


@pytest.mark.parametrize("consumers", [1, 2, 4])
@PROPERTY
@given(events=EVENTS, spots=SPOTS, plan=PLANS)
def test_g1_crashes_resent_calls_and_takeovers_change_nothing(
    fresh: Callable[[], World], consumers: int, events: list[dict[str, Any]], spots: list[tuple[int, float]],
    plan: dict[int, str],
) -> None:
    world = fresh()
    chaos = Chaos(world, consumers, plan, batch_max=2)
    world.chain(chain_rows())
    world.settle()
    feed(world, events, spots, 3)
    chaos.settle()
    assert world.final() == expected(world, events, spots)
    applied = world.database.hget(world.keys.analytics("hydrate", "SPX"), "events")
    assert int(applied) == len(events), "every event counts once, however often it was delivered"
    assert world.database.xlen(world.keys.dead()) == 0


@pytest.mark.parametrize("consumers", [1, 2, 4])
@PROPERTY
@given(events=EVENTS, plan=PLANS)
def test_g1_a_chain_that_is_staged_under_crashes_is_one_epoch(
    fresh: Callable[[], World], consumers: int, events: list[dict[str, Any]], plan: dict[int, str]
) -> None:
    world = fresh()
    world.chain(chain_rows())
    Chaos(world, consumers, plan).settle()
    feed(world, events, [], 5)
    Chaos(world, consumers, {number + 3: what for number, what in plan.items()}).settle()
    assert world.final() == expected(world, events, [])
    promoted = [fields for _, fields in world.database.xrange(world.keys.stream("epoch", "SPX"))]
    assert [fields[b"event"] for fields in promoted] == [b"promoted"]


@PROPERTY
@given(events=EVENTS, strangers=st.lists(st.sampled_from(STRANGERS), min_size=1))
def test_g2_only_a_chain_creates_contracts(
    fresh: Callable[[], World], events: list[dict[str, Any]], strangers: list[str]
) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    unknown = [quote(ticker, 1.0, 2.0, T0 + 5000, number + 1) for number, ticker in enumerate(strangers)]
    world.frame([*unknown, *events])
    world.settle()
    assert world.final() == expected(world, events, [])
    missed = int(world.database.hget(world.keys.analytics("hydrate", "SPX"), "geometry_miss"))
    assert missed == len(set(strangers)), "one a contract and batch: a batch holds the newest of each"


@PROPERTY
@given(
    events=CROWDED_EVENTS, order=st.randoms(use_true_random=False), repeats=st.integers(1, 3),
    per_frame=st.integers(1, 7), batch_max=st.sampled_from([1, 2, 256]),
)
def test_g3_newest_wins_in_any_order_and_however_often(
    fresh: Callable[[], World], events: list[dict[str, Any]], order: Any, repeats: int, per_frame: int,
    batch_max: int,
) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    arriving = events * repeats
    order.shuffle(arriving)
    feed(world, arriving, [], per_frame)
    world.settle([world.engine(stage, batch_max=batch_max) for stage in STAGES])
    assert world.final() == expected(world, events, [])


@PROPERTY
@given(events=EVENTS, plan=PLANS, before=st.integers(0, 10), per_call=st.integers(1, 3))
def test_g4_an_epoch_switches_whole_and_loses_no_tick(
    fresh: Callable[[], World], monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], plan: dict[int, str],
    before: int, per_call: int,
) -> None:
    """A second chain has one strike more and is as old as the first; ticks come before, during and after staging."""
    monkeypatch.setattr("consumers.normalize.CHUNK", 4)
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    feed(world, events[:before], [], 2)
    world.settle()
    more = [*chain_rows(), row("O:SPXW260821C07600000", bid=3.0, ask=4.0)]
    world.chain(more, ts=T0 + 1)
    chaos = Chaos(world, 2, plan)
    hydrator = world.engine("hydrate")
    coming = events[before:]

    def tick_between_calls(engine: Any) -> None:
        inner = engine.stage.scripts.run

        def run(name: str, keys: Any, arguments: Any) -> Any:
            if name in ("begin", "stage", "promote") and coming:
                world.frame(coming[:per_call])
                del coming[:per_call]
                hydrator.step()
            return inner(name, keys, arguments)

        engine.stage.scripts.run = run

    for stage, engine in chaos.engines:
        if stage == "normalize":
            tick_between_calls(engine)
    seen = set()
    for _ in range(600):
        document = world.model("heatmap")
        seen.add((document["epoch"], sum(len(pane["strikes"]) for pane in document["panes"].values())))
        moved = sum(chaos.step(index) for index in range(len(chaos.engines)))
        if not moved and not chaos.pending():
            break
    assert len(seen) == 2, "a reader sees the old epoch whole, then the new one whole"
    assert {strikes for _, strikes in seen} == {11, 12}
    feed(world, coming, [], 5)
    chaos.settle()
    contracts = reference.fold(more, T0 + 1, events)
    made = _documents(world, contracts, T0 + 1, [(T0 + 1, 7550.0)])
    assert world.final() == {"contracts": contracts, "documents": made}
    assert world.database.xlen(world.keys.dead()) == 0


def test_g4_a_chunk_that_is_sent_again_does_not_undo_a_tick(fresh: Callable[[], World]) -> None:
    """A contract the active epoch does not have is ticked after its chunk was staged; then the call is sent again."""
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    added = "O:SPXW260821C07600000"
    more = [*chain_rows(), row(added, bid=3.0, ask=4.0)]
    world.chain(more, ts=T0 + 1)
    normalizer, hydrator = world.engine("normalize"), world.engine("hydrate")
    inner = normalizer.stage.scripts.run
    tick = quote(added, 8.0, 9.0, T0 + 5, 1)

    def run_twice(name: str, keys: Any, arguments: Any) -> Any:
        reply = inner(name, keys, arguments)
        if name == "stage":
            world.frame([tick])
            hydrator.step()
            reply = inner(name, keys, arguments)
        return reply

    normalizer.stage.scripts.run = run_twice  # type: ignore[method-assign]
    normalizer.step()
    world.settle()
    assert world.contracts() == reference.fold(more, T0 + 1, [tick])


@pytest.mark.parametrize("consumers", [1, 2, 4])
@PROPERTY
@given(waves=st.lists(EVENTS, min_size=2, max_size=4), plan=PLANS)
def test_g5_a_change_that_lands_while_its_pane_is_computed_is_computed_again(
    fresh: Callable[[], World], consumers: int, waves: list[list[dict[str, Any]]], plan: dict[int, str]
) -> None:
    """Every wave but the first arrives in the middle of a script call of calculate or models."""
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    numbered = [
        [{**event, **({"q": wave * 10**7 + event["q"]} if "q" in event else {})} for event in events]
        for wave, events in enumerate(waves)
    ]
    later = iter(numbered[1:])
    hydrator = world.engine("hydrate")
    chaos = Chaos(world, consumers, plan)

    def tick_in_the_middle(engine: Any) -> None:
        inner = engine.stage.scripts.run

        def run(name: str, keys: Any, arguments: Any) -> Any:
            reply = inner(name, keys, arguments)
            if name in ("claim_panes", "claim_symbol"):
                world.frame(next(later, []))
                hydrator.step()
            return reply

        engine.stage.scripts.run = run

    for stage, engine in chaos.engines:
        if stage in ("calculate", "models"):
            tick_in_the_middle(engine)
    world.frame(numbered[0])
    chaos.settle()
    for rest in later:
        world.frame(rest)
    chaos.settle()
    events = [event for wave in numbered for event in wave]
    newest = {(event["ev"], event["sym"], event.get("t"), event.get("q"), event.get("e")): event for event in events}
    assert world.final() == expected(world, list(newest.values()), [])
    assert world.database.keys(world.keys.dirty(world.epoch(), "") + "*") == []
    assert world.database.keys(world.keys.lease(world.epoch(), "") + "*") == []
    assert not world.database.exists(world.keys.models_dirty("SPX"), world.keys.models_lease("SPX"))


@PROPERTY
@given(events=EVENTS, spots=SPOTS, data=st.data())
def test_g7a_the_same_entries_end_in_the_same_bytes_whatever_ran_them(
    fresh: Callable[[], World], events: list[dict[str, Any]], spots: list[tuple[int, float]], data: st.DataObject
) -> None:
    ends = []
    for consumers, batch_max in ((1, 256), (2, 1), (4, data.draw(st.integers(1, 20)))):
        world = fresh()
        world.chain(chain_rows())
        feed(world, [], [], 1)
        Chaos(world, consumers, {}, batch_max=batch_max).settle()
        feed(world, events, spots, data.draw(st.integers(1, 9)))
        Chaos(world, consumers, data.draw(PLANS), batch_max=batch_max).settle()
        ends.append(world.final())
    assert ends[0] == ends[1] == ends[2]
    assert ends[0] == expected(world, events, spots)


@PROPERTY
@given(events=EVENTS, spots=SPOTS, plan=PLANS)
def test_g7_every_commit_takes_the_next_number_and_names_its_entries(
    fresh: Callable[[], World], events: list[dict[str, Any]], spots: list[tuple[int, float]], plan: dict[int, str]
) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    feed(world, events, spots, 2)
    Chaos(world, 2, plan).settle()
    notes = [fields for _, fields in world.database.xrange(world.keys.stream("commit", "SPX"))]
    assert [int(note[b"seq"]) for note in notes] == list(range(1, len(notes) + 1))
    named = [part for note in notes if note[b"kind"] == b"hydrate" for part in note[b"ids"].decode().split()]
    assert len(named) == len(set(named)), "no entry is applied under two numbers"
    kinds = [note[b"kind"] for note in notes]
    assert kinds[:2] == [b"stage", b"promote"]


@PROPERTY
@given(events=EVENTS, poison=st.lists(st.sampled_from(BROKEN_FRAMES), min_size=1, max_size=4))
def test_g9_a_poisoned_entry_costs_itself_and_nobody_else(
    fresh: Callable[[], World], events: list[dict[str, Any]], poison: list[bytes]
) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    for number, payload in enumerate(poison):
        world.frame(events[number::len(poison)])
        world.frame(payload)
    world.spot(float("nan"), T0 + 1)
    world.settle()
    assert world.final() == expected(world, events, [])
    letters = [fields for _, fields in world.database.xrange(world.keys.dead())]
    assert len(letters) == len(poison) + 1
    assert {letter[b"field:payload"] for letter in letters if b"field:payload" in letter} == set(poison)


@PROPERTY
@given(events=EVENTS, spots=SPOTS, plan=PLANS)
def test_all_diffs_in_order_lead_from_the_first_full_model_to_the_last(
    fresh: Callable[[], World], events: list[dict[str, Any]], spots: list[tuple[int, float]], plan: dict[int, str]
) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    chaos = Chaos(world, 2, plan)
    for number, event in enumerate(events):
        world.frame([event])
        for ts, price in spots[number : number + 1]:
            world.spot(price, ts)
        chaos.settle()
    for name in (name for name in MODELS if name not in VIEWS):
        document: dict[str, Any] = {}
        for kind, payload in world.publications(name):
            document = payload if kind == "full" else apply_diff(document, payload)
        assert document == world.model(name)


def test_zero_ticks_make_zero_diffs(fresh: Callable[[], World]) -> None:
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    published = world.database.xlen(world.keys.stream("model", "SPX"))
    for number in range(1, 4):
        world.chain(chain_rows(), ts=T0 + number * 60_000, spot=7550.0, spot_ts=T0)
        world.frame([])
        world.settle()
    assert world.database.xlen(world.keys.stream("model", "SPX")) == published, "nothing new, nothing published"


@PROPERTY
@given(waves=st.lists(st.tuples(EVENTS, SPOTS), min_size=1, max_size=4), plan=PLANS)
def test_g6_incremental_equals_full_for_every_model(
    fresh: Callable[[], World], waves: list[tuple[list[dict[str, Any]], list[tuple[int, float]]]], plan: dict[int, str]
) -> None:
    """After every wave of ticks the documents are, to the byte, what all contracts computed anew would give."""
    world = fresh()
    world.chain(chain_rows())
    world.settle()
    chaos = Chaos(world, 2, plan)
    epoch = Epochs(world.database, world.keys).get(world.epoch())
    assert epoch is not None
    for events, spots in waves:
        feed(world, events, spots, 2)
        chaos.settle()
        trail = world.database.zrange(world.keys.spot_trail("SPX"), 0, -1)
        told = [(int(member.split(b":")[0]), float(member.split(b":")[1])) for member in trail]
        final = world.final()
        assert final["documents"] == _documents(world, final["contracts"], T0, told)
        audit = audit_epoch(Scripts(world.database), world.keys, epoch)
        assert audit.checked == len(epoch.panes)
        assert audit.drifted == ()
