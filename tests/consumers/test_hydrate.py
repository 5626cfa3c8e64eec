"""hydrate: good events applied, bad ones counted, frames that are none to the dead letters, and nothing invented."""

from typing import Any

import orjson
import pytest
from walrus import Database

from pipeline.deadletters import dead_letters, retry
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.stage import Engine
from tests.world import STAGES, T0, World, quote, row, tickers

TICKER, OTHER, THIRD = tickers()[:3]
STRANGER = tickers(strikes=[9000])[0]
WEEK_MS = 7 * 86_400_000


class Hydrated(World):
    """A settled world, its hydrator, and what it counted."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings)
        self.hydrate: Engine = self.engine("hydrate")
        self.others = [self.engine(stage) for stage in STAGES if stage != "hydrate"]

    def tick(self, *frames: Any) -> None:
        for frame in frames:
            self.frame(frame)
        while self.hydrate.step():
            pass

    def rest(self) -> None:
        self.settle([self.hydrate, *self.others])

    def counts(self, symbol: str = "SPX") -> dict[str, int]:
        raw = self.database.hgetall(self.keys.analytics("hydrate", symbol))
        return {name.decode(): int(n) for name, n in raw.items()}

    def lengths(self) -> list[int]:
        return [self.database.xlen(self.keys.stream(noun, "SPX")) for noun in ("dirty", "diff", "model")]

    def letters(self) -> list[tuple[str, str]]:
        return [(letter.entry, letter.error) for letter in dead_letters(self.database, self.keys.dead())]

    def pending(self, noun: str) -> int:
        return int(self.database.xpending(self.keys.stream(noun, "SPX"), "hydrate")["pending"])


@pytest.fixture
def world(database: Database, settings: Settings) -> Hydrated:
    world = Hydrated(database, settings)
    world.chain([row(ticker) for ticker in tickers()])
    world.rest()
    return world


def good(ticker: str = TICKER, bid: float = 3.0, at: int = T0 + 1000, q: int = 1) -> dict[str, Any]:
    return quote(ticker, bid, bid + 1, at, q)


# --- frames that are none ---
@pytest.mark.parametrize("payload", [b"", b"{", b"[1,", b"null", b'{"ev":"Q"}', b"\xff\xfe", b"NaN"])
def test_a_bad_frame_goes_to_the_dead_letters_and_its_neighbours_are_applied(world: Hydrated, payload: bytes) -> None:
    world.frame([good()])
    bad = world.frame(payload)
    world.frame([good(OTHER)])
    world.tick()
    ((entry, error),) = world.letters()
    assert entry == bad
    assert error.startswith("not ")
    (letter,) = dead_letters(world.database, world.keys.dead())
    assert letter.fields[b"payload"] == payload
    assert (letter.stage, letter.attempts) == ("hydrate", 1)
    assert world.contract(TICKER)["bid"] == world.contract(OTHER)["bid"] == "3"
    assert world.pending("ws") == 0


def test_a_truncated_frame_costs_itself(world: Hydrated) -> None:
    whole = orjson.dumps([good(), good(OTHER)])
    world.tick(whole[:-7], [good(THIRD)])
    assert len(world.letters()) == 1
    assert "bid" in world.contract(THIRD)
    assert world.contract(THIRD)["bid"] == "3"
    assert world.contract(TICKER)["bid"] == world.contract(OTHER)["bid"] == "10"


def test_an_entry_without_a_payload_goes_to_the_dead_letters(world: Hydrated) -> None:
    world.database.xadd(world.keys.stream("ws", "SPX"), {"ts": T0})
    world.tick([good()])
    assert [error for _, error in world.letters()] == ["no field payload"]
    assert world.contract(TICKER)["bid"] == "3"


def test_a_letter_whose_fault_was_ours_can_be_retried(world: Hydrated) -> None:
    world.tick(b"{")
    (letter,) = dead_letters(world.database, world.keys.dead())
    assert retry(Scripts(world.database), world.keys.dead(), letter)
    world.tick()
    assert len(world.letters()) == 1
    assert world.letters()[0][0] != letter.entry


# --- events that are none ---
@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (7, "not_an_object"), ({}, "no_type"), ({"ev": "Q"}, "no_ticker"),
        ({**good(), "sym": "O:SPXW260821C007500000"}, "bad_ticker"),
        ({**good(), "sym": "O:AAPL260821C00100000"}, "foreign"),
        ({**good(), "bp": -1}, "negative_price"), ({**good(), "bp": 1e12}, "out_of_range"),
        ({**good(), "bp": "3"}, "wrong_type"), ({**good(), "t": None}, "bad_time"),
        ({**good(), "t": T0 + WEEK_MS + 1}, "in_the_future"), ({**good(), "q": -1}, "bad_sequence"),
        ({"ev": "T", "sym": TICKER, "t": T0}, "no_price"), ({"ev": "A", "sym": TICKER, "e": T0}, "no_volume"),
    ],
)
def test_a_bad_event_is_counted_and_its_neighbours_are_applied(
    world: Hydrated, event: object, reason: str
) -> None:
    world.tick([good(OTHER), event, good(THIRD)], [good(OTHER, 4.0, T0 + 2000)])
    assert world.counts()[f"bad:{reason}"] == 1
    assert (world.contract(OTHER)["bid"], world.contract(THIRD)["bid"]) == ("4", "3")
    assert world.contract(TICKER)["bid"] == "10"
    assert world.letters() == []
    assert world.pending("ws") == 0


def test_a_frame_of_bad_events_alone_is_done_and_counted(world: Hydrated) -> None:
    calm = world.lengths()
    world.tick([{**good(), "bp": -1}] * 5)
    assert world.counts()["bad:negative_price"] == 5
    world.rest()
    assert world.lengths() == calm


@pytest.mark.parametrize("frame", [[], [{"ev": "status", "status": "connected"}]])
def test_frames_about_no_contract_are_done(world: Hydrated, frame: list[Any]) -> None:
    calm = world.lengths()
    world.tick(frame)
    world.rest()
    assert world.pending("ws") == 0
    assert world.lengths() == calm


def test_what_the_batch_boundaries_are_changes_no_count(database: Database, settings: Settings) -> None:
    frames = [[good(q=1), {**good(), "bp": -1}], [good(STRANGER)], [good(OTHER, q=2), 7], [good(OTHER, q=2)]]
    ends = []
    for batch_max in (1, 2, 256):
        database.flushdb()
        world = Hydrated(database, settings.model_copy(update={"batch_max": batch_max}))
        world.chain([row(ticker) for ticker in tickers()])
        world.rest()
        world.tick(*frames)
        world.rest()
        counts = world.counts()
        ends.append((world.contracts(), {name: counts[name] for name in counts if name.startswith(("bad", "events"))}))
    assert ends[0] == ends[1] == ends[2]


# --- what exists ---
def test_g2_an_event_for_an_unknown_contract_is_counted_and_creates_nothing(world: Hydrated) -> None:
    before = set(world.database.scan_iter(count=1000))
    calm = world.lengths()
    world.tick([good(STRANGER), good(tickers("SPX")[0])])
    assert world.counts()["geometry_miss"] == 2
    assert set(world.database.scan_iter(count=1000)) - before <= {
        world.keys.stream("ws", "SPX").encode(), world.keys.analytics("hydrate", "SPX").encode(),
    }
    world.rest()
    assert world.lengths() == calm


def test_g2_events_before_the_first_chain_are_counted_and_create_nothing(
    database: Database, settings: Settings
) -> None:
    world = Hydrated(database, settings)
    world.tick([good()])
    assert world.counts()["geometry_miss"] == 1
    assert not list(database.scan_iter(match="epoch:*"))


def test_a_frame_that_mixes_underlyings_reaches_each(world: Hydrated) -> None:
    ndx = tickers("NDXP", strikes=range(24000, 24100, 50))
    world.chain([row(ticker) for ticker in ndx], symbol="NDX", spot=24050)
    world.rest()
    world.tick([good(), good(ndx[0]), good(STRANGER), good(tickers("NDXP", strikes=[1])[0]), good(OTHER)])
    assert world.contract(TICKER)["bid"] == world.contract(OTHER)["bid"] == "3"
    assert world.contract(ndx[0], "NDX")["bid"] == "3"
    commits = [
        (fields[b"symbol"].decode(), fields[b"kind"].decode())
        for _, fields in world.database.xrange(world.keys.stream("commit", "SPX"))
    ]
    assert commits[-2:] == [("SPX", "hydrate"), ("NDX", "hydrate")]
    assert world.pending("ws") == 0


# --- what changes ---
def test_size_only_quotes_mark_nothing_and_publish_nothing(world: Hydrated) -> None:
    world.tick([good()])
    world.rest()
    calm = world.lengths()
    world.tick([{**good(at=T0 + 2000, q=2), "bs": 99, "as": 98}])
    assert not world.database.exists(world.keys.dirty(world.epoch(), "2026-08-21:SPXW"))
    assert world.counts()["size_only"] == 1
    assert (world.contract(TICKER)["bid_size"], world.contract(TICKER)["quote_ts"]) == ("99", str(T0 + 2000))
    world.rest()
    assert world.lengths() == calm


def test_the_same_price_again_is_size_only_and_an_older_quote_is_stale(world: Hydrated) -> None:
    world.tick([good(at=T0 + 2000, q=2)])
    world.tick([good(bid=9.0, at=T0 + 1000, q=9)])
    world.tick([good(bid=9.0, at=T0 + 2000, q=1)])
    assert world.counts()["stale"] == 2
    assert world.contract(TICKER)["bid"] == "3"


def test_sequence_decides_by_number_within_a_millisecond(world: Hydrated) -> None:
    for bid, q in ((1.0, 9), (2.0, 100), (3.0, 11)):
        world.tick([good(bid=bid, q=q)])
    assert world.contract(TICKER)["bid"] == "2"


def test_a_side_that_vanished_is_a_missing_field(world: Hydrated) -> None:
    event = good()
    del event["bp"]
    world.tick([event])
    assert "bid" not in world.contract(TICKER)
    assert world.contract(TICKER)["ask"] == "4"


def test_a_crossed_quote_is_kept_as_said_and_prices_nothing(world: Hydrated) -> None:
    world.tick([quote(TICKER, 5.0, 4.0, T0 + 1000, 1)])
    world.rest()
    assert (world.contract(TICKER)["bid"], world.contract(TICKER)["ask"]) == ("5", "4")
    assert world.pending("ws") == 0


def test_trades_and_volume_have_registers_of_their_own(world: Hydrated) -> None:
    world.tick([
        {"ev": "T", "sym": TICKER, "p": 3.5, "s": 2, "t": T0 + 50, "q": 1},
        {"ev": "A", "sym": TICKER, "av": 120, "e": T0 + 40},
        {"ev": "A", "sym": TICKER, "av": 110, "e": T0 + 30},
    ])
    contract = world.contract(TICKER)
    assert (contract["last"], contract["last_size"], contract["volume"], contract["bid"]) == ("3.5", "2", "120", "10")


def test_a_burst_is_coalesced_to_one_mark_a_pane(world: Hydrated) -> None:
    calm = world.lengths()[0]
    world.tick(*([good(bid=1 + n / 20, at=T0 + n, q=n)] for n in range(1, 100)))
    assert world.lengths()[0] == calm + 1
    assert world.contract(TICKER)["bid"] == "5.95"


# --- the future ---
def test_an_event_a_week_ahead_is_possible_and_a_later_one_is_rejected(world: Hydrated) -> None:
    world.tick([good(at=T0 + WEEK_MS)])
    assert world.contract(TICKER)["bid"] == "3"
    world.tick([good(OTHER, at=T0 + WEEK_MS + 1)])
    assert world.counts()["bad:in_the_future"] == 1
    world.tick([good(OTHER, bid=2.0, at=T0 + 5)])
    assert world.contract(OTHER)["bid"] == "2", "it was not silenced"


# --- spot ---
def spot(world: World) -> dict[str, Any]:
    held: dict[str, Any] = orjson.loads(world.database.get(world.keys.spot("SPX")))
    return held


def test_the_newest_spot_wins_in_any_order(world: Hydrated) -> None:
    for price, at in ((7560.5, T0 + 3000), (7540.0, T0 + 1000), (7570.25, T0 + 2000)):
        world.spot(price, at)
        world.tick()
    assert spot(world) == {"symbol": "SPX", "price": 7560.5, "ts": T0 + 3000}


def test_one_batch_of_spots_is_its_newest(world: Hydrated) -> None:
    for price, at in ((7540.0, T0 + 1000), (7560.5, T0 + 3000), (7570.25, T0 + 2000), (7561.0, T0 + 3000)):
        world.spot(price, at)
    world.tick()
    assert spot(world)["price"] == 7561.0, "of the same instant the higher, whatever came first"
    assert world.counts()["spots"] == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": "SPX", "ts": T0}, {"symbol": "SPX", "price": 7550}, {"ts": T0, "price": 7550},
        {"symbol": "SPX", "ts": T0 + 5000, "price": "nan"}, {"symbol": "SPX", "ts": T0 + 5000, "price": "inf"},
        {"symbol": "SPX", "ts": T0 + 5000, "price": -1}, {"symbol": "SPX", "ts": T0 + 5000, "price": 0},
        {"symbol": "SPX", "ts": T0 + 5000, "price": 1e9}, {"symbol": "SPX", "ts": T0 + 5000, "price": "much"},
        {"symbol": "SPX", "ts": "now", "price": 7550}, {"symbol": "SPX", "ts": T0 * 1000, "price": 7550},
        {"symbol": b"\xff", "ts": T0, "price": 7550},
    ],
)
def test_a_bad_spot_goes_to_the_dead_letters_and_its_neighbours_are_applied(
    world: Hydrated, fields: dict[str, Any]
) -> None:
    world.spot(7551.0, T0 + 1000)
    world.database.xadd(world.keys.stream("spot", "SPX"), fields)
    world.spot(7552.0, T0 + 2000)
    world.tick()
    assert spot(world)["price"] == 7552.0
    assert len(world.letters()) == 1
    assert world.pending("spot") == 0


def test_a_spot_of_no_underlying_of_ours_is_done(world: Hydrated) -> None:
    world.spot(100.0, T0 + 1000, "AAPL")
    world.tick()
    assert world.pending("spot") == 0
    assert world.letters() == []
    assert not world.database.exists(world.keys.spot("AAPL"))


def test_a_spot_dated_years_ahead_is_rejected(world: Hydrated) -> None:
    world.spot(1.0, T0 + 10 * 365 * 86_400_000)
    world.spot(7552.0, T0 + 2000)
    world.tick()
    assert spot(world)["price"] == 7552.0


# --- what trades did to the dealers' delta ---
def trade(price: float, size: int, at: int, q: int, ticker: str = TICKER) -> dict[str, Any]:
    return {"ev": "T", "sym": ticker, "p": price, "s": size, "t": at, "q": q}


@pytest.fixture
def with_deltas(database: Database, settings: Settings) -> Hydrated:
    """Every contract is quoted 10 at 11 with a delta of 0.5; spot is 7550."""
    world = Hydrated(database, settings)
    greeks = {"delta": 0.5, "gamma": 0.001, "theta": -1.0, "vega": 2.0}
    world.chain([row(ticker, greeks=greeks) for ticker in tickers()])
    world.rest()
    return world


def flows(world: World) -> dict[int, int]:
    stored = world.database.hgetall(world.keys.flow_delta("SPX"))
    return {int(second): int(usd) for second, usd in stored.items()}


def test_customers_who_buy_leave_dealers_short_of_delta_second_by_second(with_deltas: Hydrated) -> None:
    at = T0 + 1000
    with_deltas.tick([trade(11.0, 2, at, 1), trade(12.0, 1, at + 999, 2), trade(10.0, 5, at + 1000, 3)])
    one = 0.5 * 100 * 7550
    assert flows(with_deltas) == {at: round(-3 * one), at + 1000: round(5 * one)}


def test_trades_inside_the_quote_take_no_side(with_deltas: Hydrated) -> None:
    with_deltas.tick([trade(10.5, 9, T0 + 1000, 1)])
    assert flows(with_deltas) == {}


def test_a_trade_that_comes_again_counts_once(with_deltas: Hydrated) -> None:
    first, second = trade(11.0, 1, T0 + 1000, 1), trade(11.0, 1, T0 + 1001, 2)
    with_deltas.tick([first], [second, first], [second], [first, second])
    assert flows(with_deltas) == {T0 + 1000: round(-2 * 0.5 * 100 * 7550)}
