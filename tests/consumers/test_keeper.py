"""keeper: fetches on time, silence noticed, nothing left undone for good, nothing kept for ever."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import orjson
import pytest
from redis.exceptions import ResponseError
from structlog.testing import capture_logs
from walrus import Database

import consumers.keeper
from consumers.keeper import GROUPS, Keeper, run
from pipeline.base_frame import frame_times, stored_frame, unpack_frame
from pipeline.leader import Leadership
from pipeline.life import Life
from pipeline.publication import MODELS, VIEWS
from pipeline.registers import fields
from pipeline.settings import Settings
from tests.waiting import wait_until
from tests.world import STAGES, T0, World, quote, row, tickers

PANE = "2026-08-21:SPXW"
TICKER = tickers()[0]


class Office(World):
    """A settled world with a keeper that a test turns duty by duty."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings)
        self.engines = [self.engine(stage) for stage in STAGES]
        self.keeper = Keeper(settings, database)

    def run_on(self) -> None:
        self.settle(self.engines)

    def jobs(self) -> list[tuple[str, str]]:
        """(reason, force) of every fetch job so far."""
        jobs = self.database.xrange(self.keys.stream("chain_jobs", "SPX"))
        return [(fields[b"reason"].decode(), fields[b"force"].decode()) for _, fields in jobs]

    def finish_job(self, due_in_s: float = 1000, owed: bool = False, job: str = "") -> None:
        """What the chain stage says when a fetch is done."""
        stream, database = self.keys.stream("chain_jobs", "SPX"), self.database
        groups = {group["name"] for group in database.xinfo_groups(stream)}
        if b"chain" not in groups:
            database.xgroup_create(stream, "chain", "0")
        rows = database.xreadgroup("chain", "fetcher", {stream: ">"}, count=100)
        entry = job or rows[0][1][-1][0].decode()
        assert self.keeper.scripts.run(
            "finish_chain",
            {"jobs": stream, "chains": self.keys.stream("chain", "SPX"), "schedule": self.keys.chain_schedule("SPX"),
             "job": self.keys.chain_job("SPX")},
            {"group": "chain", "consumer": "fetcher", "entry": entry, "symbol": "SPX",
             "due_ms": int((time.time() + due_in_s) * 1000), "fields": [], "owed": int(owed)},
        )

    def events(self) -> list[str]:
        stream = self.keys.stream("epoch", "SPX")
        return [fields[b"event"].decode() for _, fields in self.database.xrange(stream)]

    def hear(self, ago_s: float = 0.0, symbol: str = "SPX") -> None:
        """The socket says when it received its last frame."""
        at = int((time.time() - ago_s) * 1000)
        self.database.hset(self.keys.analytics("ws", symbol), f"last_frame_ms:{symbol}", at)

    def counted(self, name: str) -> int:
        return int(self.database.hget(self.keys.analytics("keeper", "SPX"), name) or 0)


@pytest.fixture
def make_office(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> Callable[..., Office]:
    def make(**overrides: Any) -> Office:
        return Office(database, make_settings(**{"redis_url": redis_url, "symbols": ("SPX",), **overrides}))

    return make


@pytest.fixture
def office(make_office: Callable[..., Office]) -> Office:
    office = make_office()
    office.chain([row(ticker) for ticker in tickers()])
    office.run_on()
    return office


# --- fetches ---
def test_the_first_job_is_queued_at_start_and_no_other_while_it_is_under_way(make_office: Any) -> None:
    office = make_office()
    for _ in range(3):
        office.keeper.schedule()
    assert office.jobs() == [("startup", "0")]


def test_a_finished_fetch_plans_the_next(make_office: Any) -> None:
    office = make_office()
    office.keeper.schedule()
    office.finish_job(due_in_s=1000)
    office.keeper.schedule()
    assert office.jobs() == [("startup", "0")]
    office.database.zadd(office.keys.chain_schedule("SPX"), {"SPX": int(time.time() * 1000) - 1})
    office.keeper.schedule()
    office.keeper.schedule()
    assert office.jobs() == [("startup", "0"), ("interval", "0")]


def test_every_symbol_has_its_own_schedule(make_office: Any) -> None:
    office = make_office(symbols=("SPX", "NDX"))
    office.keeper.schedule()
    office.keeper.schedule()
    stream = office.keys.stream("chain_jobs", "SPX")
    assert sorted(fields[b"symbol"] for _, fields in office.database.xrange(stream)) == [b"NDX", b"SPX"]


def test_a_job_that_is_lost_is_queued_again_after_its_deadline_and_keeps_its_force(make_office: Any) -> None:
    office = make_office()
    job = office.keys.chain_job("SPX")
    office.database.zadd(office.keys.chain_schedule("SPX"), {"SPX": int((time.time() + 1000) * 1000)})
    office.database.hset(job, mapping={"wanted": "dormant", "force": 1})
    office.keeper.schedule()
    office.keeper.schedule()
    assert office.jobs() == [("dormant", "1")]
    office.database.hset(job, "deadline_ms", 1)
    office.keeper.schedule()
    office.keeper.schedule()
    assert office.jobs() == [("dormant", "1"), ("interval", "1")]


def test_a_lost_job_that_finishes_after_all_leaves_the_one_in_its_place_alone(make_office: Any) -> None:
    office = make_office()
    office.keeper.schedule()
    first = office.database.hget(office.keys.chain_job("SPX"), "id").decode()
    office.database.hset(office.keys.chain_job("SPX"), "deadline_ms", 1)
    office.keeper.schedule()
    office.finish_job(due_in_s=-1, job=first)
    office.keeper.schedule()
    assert len(office.jobs()) == 2


def test_a_forced_fetch_that_failed_is_owed(make_office: Any) -> None:
    office = make_office()
    office.database.hset(office.keys.chain_job("SPX"), mapping={"wanted": "dormant", "force": 1})
    office.keeper.schedule()
    office.finish_job(due_in_s=-1, owed=True)
    office.keeper.schedule()
    assert office.jobs() == [("dormant", "1"), ("interval", "1")]


@pytest.mark.parametrize(("moved", "asked"), [(0.029, False), (0.031, True), (-0.031, True)])
def test_spot_that_left_the_middle_of_the_window_asks_for_a_chain_at_once(
    office: Office, moved: float, asked: bool
) -> None:
    office.keeper.schedule()
    office.finish_job()
    office.spot(round(7550 * (1 + moved), 2), T0 + 1000)
    office.run_on()
    office.keeper.schedule()
    assert office.jobs()[1:] == ([("drift", "0")] if asked else [])


def test_drift_that_a_chain_does_not_mend_asks_at_the_chains_own_pace(office: Office) -> None:
    office.keeper.schedule()
    office.finish_job()
    office.spot(7900, T0 + 1000)
    office.run_on()
    for _ in range(3):
        office.keeper.schedule()
    office.finish_job()  # a chain that did not move the window: refused, or without a spot
    for _ in range(3):
        office.keeper.schedule()
    assert office.jobs() == [("startup", "0"), ("drift", "0")]


def test_a_chain_around_the_new_spot_ends_the_drift(office: Office) -> None:
    office.spot(7800, T0 + 1000)
    office.run_on()
    assert office.keeper._has_drifted("SPX")
    before = office.epoch()
    office.chain([row(ticker, ts=T0 + 2000) for ticker in tickers()], ts=T0 + 2000, spot=7800)
    office.run_on()
    assert not office.keeper._has_drifted("SPX"), "the window moves, even where the same contracts are in it"
    assert office.epoch() == before


# --- the leader ---
def test_one_leads_and_the_other_takes_over_when_it_is_gone(database: Database) -> None:
    first, second = (Leadership(database, "leader", ttl_s=0.3) for _ in range(2))
    assert first.hold()
    assert not second.hold()
    assert first.hold()
    wait_until(second.hold, "the take-over", timeout=2)
    assert not first.hold()
    second.resign()
    assert first.hold()


def test_two_keepers_queue_one_job_and_the_second_goes_on_when_the_first_stops(
    make_office: Any, database: Database
) -> None:
    office = make_office(keeper_interval_s=0.02)
    first, second = (Life("keeper", office.settings, database) for _ in range(2))
    threads = [threading.Thread(target=run, args=(office.settings, database, life)) for life in (first, second)]
    with ExitStack() as stack, capture_logs() as lines:
        for life, thread in zip((first, second), threads, strict=True):
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(life.stop.set)
            wait_until(lambda life=life: database.hexists(office.keys.workers(), life.consumer), "a turn of the keeper")
        wait_until(office.jobs, "the first job")
        assert lines_of(lines, "leading") == 1
        first.stop.set()
        wait_until(lambda: lines_of(lines, "leading") == 2, "the take-over")
        database.zadd(office.keys.chain_schedule("SPX"), {"SPX": 1})
        database.delete(office.keys.chain_job("SPX"))
        wait_until(lambda: len(office.jobs()) == 2, "the second keeper's job")
    assert office.jobs() == [("startup", "0"), ("interval", "0")]


def lines_of(lines: list[Any], event: str) -> int:
    return sum(line["event"] == event for line in lines)


# --- feeds ---
@pytest.fixture
def listening(make_office: Callable[..., Office]) -> Office:
    """A settled world whose feed has subscriptions and counts as silent after 50 ms."""
    office = make_office(dormant_after_s=0.05)
    office.chain([row(ticker) for ticker in tickers()])
    office.run_on()
    office.database.sadd(office.keys.subscriptions("SPX"), "Q." + TICKER)
    return office


def state(office: Office) -> str:
    return str(office.database.hget(office.keys.epoch_meta(office.epoch()), "state").decode())


def test_a_feed_that_spoke_and_fell_silent_makes_its_epoch_dormant_and_forces_a_chain(listening: Office) -> None:
    office = listening
    office.keeper.schedule()
    office.finish_job()
    office.hear()
    wait_until(lambda: office.keeper.watch_feeds() or state(office) == "dormant", "dormancy")
    for _ in range(3):
        office.keeper.watch_feeds()
        office.keeper.schedule()
    assert office.jobs() == [("startup", "0"), ("dormant", "1")]
    assert office.events() == ["promoted", "dormant"]
    meta = office.database.hgetall(office.keys.epoch_meta(office.epoch()))
    assert meta[b"dormant_count"] == b"1"
    office.hear(ago_s=-60)
    office.keeper.watch_feeds()
    office.keeper.watch_feeds()
    assert state(office) == "active"
    assert office.events() == ["promoted", "dormant", "resumed"]


def test_a_forced_chain_makes_a_new_epoch_of_the_same_contracts(listening: Office) -> None:
    office, old = listening, listening.epoch()
    office.chain([row(ticker, ts=T0 + 5000) for ticker in tickers()], ts=T0 + 5000, force=True)
    office.run_on()
    assert office.epoch() not in ("", old)
    assert len(office.contracts()) == len(tickers())


def silent(office: Office) -> bool:
    """Whether silence, long enough to be noticed, was noticed."""
    until = time.monotonic() + 0.15
    wait_until(lambda: office.keeper.watch_feeds() or state(office) == "dormant" or time.monotonic() > until, "time")
    return state(office) == "dormant"


def test_a_feed_that_never_spoke_has_not_fallen_silent(listening: Office) -> None:
    assert not silent(listening)
    listening.hear(ago_s=3600)  # before this keeper's time
    assert not silent(listening)


def test_silence_without_subscriptions_is_no_dormancy(listening: Office) -> None:
    listening.database.delete(listening.keys.subscriptions("SPX"))
    listening.hear()
    assert not silent(listening)


def test_silence_of_a_closed_market_is_no_dormancy(listening: Office) -> None:
    listening.database.hset(listening.keys.analytics("chain", "SPX"), "market", "closed")
    listening.hear()
    assert not silent(listening)


def test_another_underlyings_frames_do_not_hide_a_silence(listening: Office) -> None:
    listening.hear()
    listening.hear(ago_s=-60, symbol="NDX")
    listening.database.hset(listening.keys.analytics("ws", "NDX"), "last_frame_ms", int(time.time() * 1000) + 60_000)
    assert silent(listening)


def test_an_epoch_that_dormancy_made_is_left_alone_for_a_chains_interval(listening: Office) -> None:
    meta = listening.keys.epoch_meta(listening.epoch())
    listening.database.hset(meta, "reason", "dormant")
    listening.hear()
    assert not silent(listening)
    listening.database.hset(meta, "created_ts", int(time.time() * 1000) - 31_000)
    assert silent(listening)


# --- repair ---
def test_marks_whose_entry_is_gone_are_queued_again(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    stream = office.keys.stream("dirty", "SPX")
    office.database.xdel(stream, office.database.xrevrange(stream, count=1)[0][0])
    office.run_on()
    assert office.database.exists(office.keys.dirty(office.epoch(), PANE)), "lost, as far as the stages know"
    office.keeper.repair()
    assert office.counted("repairs") == 1
    assert office.database.xrevrange(stream, count=1)[0][1][b"reason"] == b"repair"
    assert_all_published(office)


def test_a_lease_whose_entry_nobody_holds_is_taken_away_and_the_pane_computed_whole(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    database, epoch, stream = office.database, office.epoch(), office.keys.stream("dirty", "SPX")
    ((_, ((entry, _),)),) = database.xreadgroup("calculate", "dead", {stream: ">"})
    database.set(office.keys.lease(epoch, PANE), entry.decode() + "/9")
    database.delete(office.keys.dirty(epoch, PANE))
    office.keeper.repair()
    assert office.counted("repairs") == 0, "it is still pending: the next sweep of calculate takes it over"
    database.xack(stream, "calculate", entry)
    office.keeper.repair()
    assert office.counted("repairs") == 1
    assert_all_published(office)


def test_marked_documents_whose_entry_is_gone_are_queued_again(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    office.engines[2].step()
    stream = office.keys.stream("diff", "SPX")
    office.database.xdel(stream, office.database.xrevrange(stream, count=1)[0][0])
    office.keeper.repair()
    assert office.counted("repairs") == 1
    assert_all_published(office)


def test_a_publishers_lease_whose_entry_nobody_holds_is_taken_away(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    office.engines[2].step()
    database, stream = office.database, office.keys.stream("diff", "SPX")
    ((_, ((entry, _),)),) = database.xreadgroup("models", "dead", {stream: ">"})
    database.set(office.keys.models_lease("SPX"), entry.decode() + "/9")
    database.delete(office.keys.models_dirty("SPX"))
    database.xack(stream, "models", entry)
    office.keeper.repair()
    assert office.counted("repairs") == 1
    assert_all_published(office)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "another process"])
def test_a_missing_document_is_published_again_in_full(office: Office, model: str, fresh: bool) -> None:
    before = office.final()
    office.database.delete(office.keys.model(model, "SPX"))
    office.keeper.repair()
    if fresh:
        office.engines[3] = office.engine("models")
    office.run_on()
    assert office.final() == before
    if model not in VIEWS:  # views are stored and not announced
        assert list(office.publications(model))[-1][0] == "full"
    office.keeper.repair()
    assert office.counted("repairs") == 1, "once is enough"


def test_a_missing_document_of_a_busy_market_is_published_again(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    office.engines[2].step()  # a publication is queued already
    office.database.delete(office.keys.model("gex_puts", "SPX"))
    office.keeper.repair()
    office.run_on()
    assert_all_published(office)
    assert office.database.exists(office.keys.model("gex_puts", "SPX"))


def test_a_repair_that_is_not_needed_does_no_harm(office: Office) -> None:
    def entries() -> list[int]:
        return [office.database.xlen(office.keys.stream(noun, "SPX")) for noun in ("dirty", "diff")]

    calm = entries()
    office.keeper.repair()
    assert entries() == calm
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    for engine in office.engines:
        engine.step()
        queued = entries()
        office.keeper.repair()
        assert entries() == queued
    office.run_on()  # what is deferred as well
    before = office.final()
    publications = office.database.xlen(office.keys.stream("model", "SPX"))
    office.database.xadd(office.keys.stream("dirty", "SPX"), {
        "symbol": "SPX", "epoch": office.epoch(), "pane": PANE, "reason": "repair", "ts": T0, "origin": "",
    })
    office.database.xadd(office.keys.stream("diff", "SPX"), {
        "symbol": "SPX", "epoch": office.epoch(), "seq": 1, "ts": T0, "origin": "",
    })
    office.run_on()
    assert office.final() == before
    assert office.database.xlen(office.keys.stream("model", "SPX")) == publications
    assert office.counted("repairs") == 0


def test_repair_before_any_worker_ran_is_quiet(make_office: Any) -> None:
    office = make_office()
    office.keeper.repair()
    office.chain([row(ticker) for ticker in tickers()])
    office.engine("normalize").step()
    office.keeper.repair()
    assert office.counted("repairs") == 0


def assert_all_published(office: Office) -> None:
    """What is published is what computing everything from the contracts gives."""
    office.run_on()
    assert not office.database.exists(office.keys.dirty(office.epoch(), PANE))
    office.keeper.audit()
    assert office.counted("audited") == 1
    assert office.counted("drift") == 0
    stored = office.final()["documents"]
    office.database.delete(*(office.keys.model(model, "SPX") for model in MODELS))
    office.keeper.repair()
    office.run_on()
    assert office.final()["documents"] == stored


# --- letting go ---
def test_a_past_epoch_is_let_go_whole_and_said_so(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.keeper, "_RETIRE_KEYS", 4)
    old = office.epoch()
    office.chain([row(ticker, ts=T0 + 9) for ticker in tickers(strikes=range(7480, 7605, 5))], ts=T0 + 9)
    office.run_on()
    middle = office.epoch()
    office.chain([row(ticker, ts=T0 + 99) for ticker in tickers()], ts=T0 + 99)
    office.run_on()
    office.keeper.retire()
    keys = [key.decode() for key in office.database.scan_iter(match="epoch:*", count=1000)]
    past = [key for key in keys if old in key or middle in key]
    assert len(past) > 4, "more than one bounded piece"
    assert {office.database.ttl(key) for key in past} <= {299, 300}
    assert {office.database.ttl(key) for key in keys if office.epoch() in key} == {-1}
    assert office.events().count("retired") == 2
    assert office.database.scard(office.keys.epoch_retiring("SPX")) == 0
    office.keeper.retire()
    assert office.events().count("retired") == 2


def test_streams_are_trimmed_behind_what_is_done_and_never_ahead(make_office: Any) -> None:
    office = make_office(retention_s=0.001, model_retention_s=3600)
    office.chain([row(ticker) for ticker in tickers()])
    office.run_on()
    published = office.database.xlen(office.keys.stream("model", "SPX"))
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.frame([quote(TICKER, 4.0, 5.0, T0 + 6, 10)])
    office.keeper.trim()
    lengths = {noun: office.database.xlen(office.keys.stream(noun, "SPX")) for noun in GROUPS}
    assert lengths["ws"] == 2, "nobody has read them"
    assert lengths["model"] == published > 0, "kept for browsers that were away"
    assert lengths["commit"] == lengths["epoch"] == 0
    assert lengths["dirty"] == lengths["diff"] == lengths["chain"] == 1, "only what was delivered last"
    office.run_on()
    assert office.contract(TICKER)["bid"] == "4"


def test_dead_letters_are_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.keeper, "DEAD_LETTERS_MAX", 100)
    for _ in range(500):
        office.database.xadd(office.keys.dead(), {"stage": "x"})
    office.keeper.trim()
    assert 100 <= office.database.xlen(office.keys.dead()) <= 200, "to the nearest node of the stream"


def test_consumers_and_workers_that_left_without_a_word_are_taken_off(make_office: Any) -> None:
    office = make_office(consumer_idle_s=0.001)
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 6, 10)])
    stream, database = office.keys.stream("ws", "SPX"), office.database
    database.xgroup_create(stream, "hydrate", "0")
    ((_, ((first, _),)),) = database.xreadgroup("hydrate", "gone", {stream: ">"}, count=1)
    database.xreadgroup("hydrate", "owns", {stream: ">"}, count=1)
    database.xack(stream, "hydrate", first)
    now = int(time.time() * 1000)
    database.hset(office.keys.workers(), "gone", orjson.dumps({"heartbeat": now - 61_000}))
    database.hset(office.keys.workers(), "alive", orjson.dumps({"heartbeat": now}))

    def left() -> set[bytes]:
        office.keeper.reap()
        return {consumer["name"] for consumer in database.xinfo_consumers(stream, "hydrate")}

    wait_until(lambda: left() == {b"owns"}, "the one that owns nothing to go")
    assert set(database.hgetall(office.keys.workers())) == {b"alive"}


def test_a_living_consumer_is_not_reaped(office: Office) -> None:
    stream = office.keys.stream("ws", "SPX")
    before = office.database.xinfo_consumers(stream, "hydrate")
    office.keeper.reap()
    assert len(office.database.xinfo_consumers(stream, "hydrate")) == len(before) == 1


# --- audit ---
def random_ticks(office: Office, seed: int) -> None:
    ticks = random.Random(seed)
    listed = tickers()
    for number in range(1, 40):
        bid = ticks.randrange(1, 400) / 20
        events = [
            quote(ticks.choice(listed), bid, bid + ticks.randrange(0, 40) / 20, T0 + ticks.randrange(90_000), number)
            for _ in range(ticks.randrange(1, 20))
        ]
        office.frame(events)
        if number % 5 == 0:
            office.spot(7500 + ticks.randrange(100), T0 + number * 3000)
        for engine in office.engines:
            if ticks.random() < 0.7:
                engine.step()
    office.run_on()


@pytest.mark.parametrize("seed", range(3))
def test_g6_a_settled_world_has_not_drifted_after_random_ticks(office: Office, seed: int) -> None:
    random_ticks(office, seed)
    office.keeper.audit()
    assert (office.counted("audited"), office.counted("drift")) == (1, 0)


def test_a_tile_that_was_tampered_with_is_counted_and_said(office: Office) -> None:
    grids = office.keys.grids(office.epoch(), PANE)
    stored = office.database.get(grids)
    office.database.set(grids, bytes([stored[0] ^ 1]) + stored[1:])
    with capture_logs() as lines:
        office.keeper.audit()
    assert office.counted("drift") == 1
    assert [line["panes"] for line in lines if line["log_level"] == "error"] == [(PANE,)]


def test_a_pane_that_is_not_at_rest_is_not_audited(office: Office) -> None:
    office.frame([quote(TICKER, 3.0, 4.0, T0 + 5, 9)])
    office.engines[1].step()
    office.keeper.audit()
    assert (office.counted("audited"), office.counted("drift")) == (0, 0)


def test_a_base_frame_reads_back_to_the_same_contracts(office: Office) -> None:
    random_ticks(office, 7)
    office.keeper.audit()
    (taken,) = frame_times(office.database, office.keys, "SPX")
    assert stored_frame(office.database, office.keys, "SPX", taken - 1) is None
    frame = unpack_frame(stored_frame(office.database, office.keys, "SPX", taken) or b"")
    known: dict[str, dict[str, str]] = {}
    for kinds in frame.registers.values():
        for kind, held in kinds.items():
            for ticker, register in held.items():
                known.setdefault(ticker, {}).update(fields(kind, register))
    assert known == office.contracts()
    assert frame.epoch == office.epoch()
    spot = office.database.get(office.keys.spot("SPX"))
    assert frame.spot == spot
    assert {frame.seq, *frame.seqs.values()} == {int(office.database.get(office.keys.sequence("SPX")))}
    assert 400 < office.database.ttl(office.keys.snapshot("SPX", taken)) <= 480  # retention, two intervals, a minute


def test_no_base_frame_while_another_epoch_is_on_its_way(office: Office) -> None:
    office.database.hset(office.keys.epoch_staging("SPX"), "SPX", "SPX:1:abcdef")
    office.keeper.audit()
    assert frame_times(office.database, office.keys, "SPX") == []


def test_no_base_frame_before_the_first_epoch(make_office: Any) -> None:
    office = make_office()
    office.keeper.audit()
    assert frame_times(office.database, office.keys, "SPX") == []


# --- duties ---
def test_one_duty_that_fails_does_not_keep_the_others_from_being_done(make_office: Any) -> None:
    office = make_office()
    office.database.set(office.keys.chain_job("SPX"), "of the wrong type")
    with pytest.raises(ResponseError):
        office.keeper.turn()
    office.keeper.turn()
    assert [duty.name for duty in office.keeper.duties if not duty.due] == []
