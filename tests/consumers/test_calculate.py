"""Tiles first: what a tick moves is published at once; greeks and what rests on them are a debt, paid once."""

from collections.abc import Callable
from typing import Any

import pytest
from walrus import Database

from consumers.calculate import CalculateStage
from consumers.keeper import Keeper
from pipeline.claim import PaneReading, read_pane
from pipeline.entry import due_in_s
from pipeline.geometry import Pane
from pipeline.keys import Keys
from pipeline.models.documents import apply_diff
from pipeline.publication import FACTS, GEX
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.stage import Engine
from tests.world import STAGES, T0, World, quote, row, tickers

LISTED = tickers()
PANE = "2026-08-21:SPXW"
AT_THE_MONEY = "O:SPXW260821C07550000"


class Desk(World):
    """A settled world whose stages a test turns one by one."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings)
        self.engines = {stage: self.engine(stage) for stage in STAGES}
        self.keeper = Keeper(settings, database)
        self.chain([row(ticker) for ticker in LISTED])
        self.run_on()

    def run_on(self) -> None:
        self.settle(list(self.engines.values()))

    def tick(self, bid: float = 12.0, ts: int = T0 + 5, number: int = 9) -> None:
        self.frame([quote(AT_THE_MONEY, bid, bid + 1.0, ts, number)])
        self.engines["hydrate"].step()

    def versions(self) -> dict[str, int]:
        state = self.database.hgetall(self.keys.models_state("SPX"))
        return {model: int(state[f"{model}:version".encode()]) for model in ("heatmap", *GEX, *FACTS)}

    def reasons(self, noun: str) -> list[str]:
        return [fields[b"reason"].decode() for _, fields in self.database.xrange(self.keys.stream(noun, "SPX"))]

    def owed(self) -> str:
        return (self.database.hget(self.keys.owed(self.epoch()), PANE) or b"").decode()

    def head(self) -> dict[str, Any]:
        found: dict[str, Any] = self.model("heatmap")["panes"][PANE]
        return {name: value for name, value in found.items() if not isinstance(value, dict | list)}

    def dirty(self) -> int:
        return int(self.database.scard(self.keys.dirty_panes(self.epoch())))


@pytest.fixture
def make_desk(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Callable[..., Desk]:
    def make(**overrides: Any) -> Desk:
        given = {"redis_url": redis_url, "symbols": ("SPX",), "block_ms": 10, **overrides}
        return Desk(database, make_settings(**given))

    return make


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


def test_a_tick_publishes_its_tiles_and_leaves_the_rest_owed(desk: Desk) -> None:
    before, head = desk.versions(), desk.head()
    desk.tick()
    desk.engines["calculate"].step()
    assert desk.owed(), "an entry is on its way"
    assert desk.dirty() == 1, "the pane is not done"
    desk.engines["models"].step()
    after = desk.versions()
    assert after.pop("heatmap") == before.pop("heatmap") + 1
    assert after == before, "what rests on greeks waits for them"
    assert desk.head() == head
    tile = desk.model("heatmap")["panes"][PANE]["single"]["call"]["mid"][10]
    assert tile == 12.5

    desk.engines["calculate"].step()
    assert not desk.owed()
    assert desk.dirty() == 0
    desk.run_on()
    assert desk.head() != head
    assert all(desk.versions()[model] > before[model] for model in GEX)
    desk.keeper.audit()
    assert int(desk.database.hget(desk.keys.analytics("keeper", "SPX"), "drift")) == 0


def test_what_was_deferred_is_computed_once_for_many_ticks(desk: Desk) -> None:
    desk.run_on()
    for number in range(5):
        desk.tick(12.0 + number, T0 + 10 + number, 20 + number)
        desk.engines["calculate"]._handle(desk.engines["calculate"]._read())
        desk.engines["models"]._handle(desk.engines["models"]._read())
    assert desk.reasons("dirty").count("greeks") >= 1
    counts = desk.database.hgetall(desk.keys.analytics("calculate", "SPX"))
    desk.run_on()
    after = desk.database.hgetall(desk.keys.analytics("calculate", "SPX"))
    assert int(after[b"computed"]) - int(counts[b"computed"]) <= 2
    for model in ("heatmap", "gex"):
        document: dict[str, Any] = {}
        for kind, payload in desk.publications(model):
            document = payload if kind == "full" else apply_diff(document, payload)
        assert document == desk.model(model)


def test_an_entry_waits_as_long_as_its_debt_is_young(make_desk: Callable[..., Desk], database: Database) -> None:
    desk = make_desk(greeks_interval_s=0.5)
    stage = desk.engines["calculate"].stage
    assert isinstance(stage, CalculateStage)
    desk.tick()
    desk.engines["calculate"].step()
    read = desk.engines["calculate"]._read()
    (entry,) = [one for one in read if one.fields.get(b"reason") == b"greeks"]
    assert 0.0 < stage.wait_s(entry) <= 0.5
    assert due_in_s(entry, 0.0) <= 0.0
    assert stage.wait_s(read[0] if read[0] is not entry else type(entry)(entry.stream, entry.id, {})) == 0.0
    old = type(entry)(entry.stream, entry.id, {**entry.fields, b"since": b"1"})
    assert stage.wait_s(old) < 0.0, "a debt that was queued anew keeps its age"


def test_a_debt_whose_entry_comes_while_the_pane_is_held_is_queued_anew_with_its_age(desk: Desk) -> None:
    desk.tick()
    desk.engines["calculate"].step()
    first = desk.owed()
    desk.database.set(desk.keys.lease(desk.epoch(), PANE), "1-1/7")
    desk.engines["calculate"].step()
    since = first.partition("-")[0]
    assert desk.owed() == f"@{since}"
    desk.database.delete(desk.keys.lease(desk.epoch(), PANE))
    desk.tick(14.0, T0 + 9, 30)
    desk.engines["calculate"].step()
    assert desk.owed() > first
    newest = desk.database.xrevrange(desk.keys.stream("dirty", "SPX"), count=1)[0][1]
    assert (newest[b"reason"], newest[b"since"]) == (b"greeks", since.encode())


def test_tiles_name_the_event_that_moved_them_whoever_computed_them(desk: Desk) -> None:
    def origins() -> list[str]:
        rows = desk.database.xrange(desk.keys.stream("model", "SPX"))
        return [fields[b"origin"].decode() for _, fields in rows if fields[b"model"] == b"heatmap"]

    def publish() -> None:
        for stage in ("hydrate", "calculate", "models"):
            desk.engines[stage].step()

    known = len(origins())
    first = desk.frame([quote(AT_THE_MONEY, 12.0, 13.0, T0 + 5, 9)])
    publish()
    second = desk.frame([quote(AT_THE_MONEY, 14.0, 15.0, T0 + 6, 10)])
    publish()  # greeks of the first, with the tiles of the second
    desk.tick(15.0, T0 + 7, 11)
    desk.run_on()
    assert origins()[known : known + 2] == [first, second]
    assert not set(origins()[known + 3 :]) - {""}, "greeks alone name none"


def test_a_publication_that_is_owed_while_the_underlying_is_held_is_queued_anew_with_its_age(desk: Desk) -> None:
    state, lease = desk.keys.models_state("SPX"), desk.keys.models_lease("SPX")
    desk.tick()
    for stage in ("calculate", "calculate", "models"):
        desk.engines[stage].step()
    first = (desk.database.hget(state, "owed") or b"").decode()
    assert first, "greeks were computed, and what rests on them is to be published"
    desk.database.set(lease, "1-1/7")
    desk.engines["models"].step()
    assert desk.database.hget(state, "owed") == f"@{first.partition('-')[0]}".encode()
    desk.database.delete(lease)
    desk.tick(14.0, T0 + 9, 30)
    desk.engines["calculate"].step()
    desk.engines["models"].step()
    assert (desk.database.hget(state, "owed") or b"").decode() > first
    before = desk.versions()
    desk.run_on()
    assert all(desk.versions()[model] > before[model] for model in GEX)


def test_who_computes_a_whole_pane_pays_its_debt(desk: Desk) -> None:
    desk.tick()
    desk.engines["calculate"].step()
    assert desk.owed()
    desk.tick(14.0, T0 + 9, 30)
    fresh: Engine = desk.engine("calculate")  # knows nothing of the pane
    fresh._handle([one for one in fresh._read() if one.fields[b"reason"] == b"ws"])
    assert not desk.owed()
    assert desk.dirty() == 0
    desk.settle([fresh, *desk.engines.values()])
    assert desk.dirty() == 0


@pytest.mark.parametrize(("noun", "group"), [("dirty", "calculate"), ("diff", "models")])
def test_a_debt_that_nobody_will_pay_is_queued_again(desk: Desk, noun: str, group: str) -> None:
    desk.tick()
    desk.engines["calculate"].step()
    desk.engines["models"].step()
    if noun == "diff":  # the greeks themselves, and what says that more rests on them
        desk.engines["calculate"].step()
        desk.engines["models"].step()
    stream = desk.keys.stream(noun, "SPX")
    for entry, fields in desk.database.xrange(stream):
        if fields[b"reason"] in (b"greeks", b"derived"):
            desk.database.xreadgroup(group, "nobody", {stream: ">"})
            desk.database.xack(stream, group, entry)
    desk.keeper.repair()
    assert int(desk.database.hget(desk.keys.analytics("keeper", "SPX"), "repairs") or 0) == 1
    desk.run_on()
    assert desk.dirty() == 0
    published = desk.final()
    desk.database.delete(*(desk.keys.model(model, "SPX") for model in GEX))
    desk.keeper.repair()  # which makes every document anew
    desk.run_on()
    assert desk.final() == published


def test_a_new_epoch_owes_nothing_of_the_old_one(desk: Desk) -> None:
    desk.tick()
    desk.engines["calculate"].step()
    desk.engines["models"].step()
    desk.engines["calculate"].step()
    desk.engines["models"].step()
    assert desk.database.hexists(desk.keys.models_state("SPX"), "owed")
    desk.chain([row(ticker) for ticker in LISTED[2:]], T0 + 60_000)
    desk.run_on()
    assert not desk.database.hexists(desk.keys.models_state("SPX"), "owed")
    before = desk.versions()
    desk.tick(15.0, T0 + 70_000, 50)
    desk.run_on()
    assert all(version > before[model] for model, version in desk.versions().items() if model in ("heatmap", *GEX))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The panes that were read whole, one after the other."""
    found: list[str] = []

    def counted(scripts: Scripts, keys: Keys, epoch: str, pane: Pane) -> PaneReading:
        found.append(pane.geometry.pane)
        return read_pane(scripts, keys, epoch, pane)

    monkeypatch.setattr("consumers.calculate.read_pane", counted)
    return found


def test_consumers_that_take_turns_at_a_pane_know_what_the_others_took(desk: Desk, reads: list[str]) -> None:
    crew = [desk.engines["calculate"], desk.engine("calculate"), desk.engine("calculate")]
    for number in range(12):
        # Each finds the value that it had computed, while what is stored is another's.
        desk.tick(12.0 + number % 3, T0 + 10 + number, 20 + number)
        crew[number % 3].step()
        desk.engines["models"].step()
        assert desk.model("heatmap")["panes"][PANE]["single"]["call"]["mid"][10] == 12.5 + number % 3
        crew[number % 3].step()  # the greeks
        desk.keeper.audit()
    assert len(reads) == 4, "two that are new, and the two that had it before claims were kept"
    found = desk.database.hgetall(desk.keys.analytics("keeper", "SPX"))
    assert (int(found[b"drift"]), int(found[b"audited"])) == (0, 12)


def test_who_missed_too_many_claims_reads_the_pane(desk: Desk, reads: list[str]) -> None:
    first, second = desk.engines["calculate"], desk.engine("calculate")
    for number in range(4):
        desk.tick(12.0 + number, T0 + 10 + number, 20 + number)
        (first, second)[number % 2].step()
    known = len(reads)
    for number in range(40):
        desk.tick(20.0 + number, T0 + 100 + number, 100 + number)
        second.step()
    assert len(reads) == known
    tiles = desk.keys.tiles(desk.epoch(), PANE)
    kept = [field for field in desk.database.hkeys(tiles) if field.startswith(b"taken:")]
    assert len(kept) == 32
    desk.tick(70.0, T0 + 200, 200)
    first.step()
    assert len(reads) == known + 1
    desk.settle([first, second, *desk.engines.values()])
    desk.keeper.audit()
    assert int(desk.database.hget(desk.keys.analytics("keeper", "SPX"), "drift")) == 0


def test_a_tick_and_a_debt_of_one_pane_in_one_batch_are_one_computation(desk: Desk, reads: list[str]) -> None:
    for number in range(4):  # every second batch has the debt of the tick before
        desk.tick(12.0 + number, T0 + 10 + number, 20 + number)
        desk.engines["calculate"].step()
    assert desk.reasons("dirty")[-1] == "ws", "the debt was paid with it"
    assert not desk.owed()
    assert not reads
    assert not desk.database.hexists(desk.keys.tiles(desk.epoch(), PANE), "shared")


def test_a_pane_that_one_consumer_computes_keeps_no_claims(desk: Desk, reads: list[str]) -> None:
    for number in range(5):
        desk.tick(12.0 + number, T0 + 10 + number, 20 + number)
        desk.run_on()
    assert not reads
    tiles = desk.database.hkeys(desk.keys.tiles(desk.epoch(), PANE))
    assert b"claims" in tiles
    assert not [field for field in tiles if field == b"shared" or field.startswith(b"taken:")]
