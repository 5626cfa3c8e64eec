"""Key names: both layouts spell the contract's table, and one underlying's keys share a slot."""

from collections.abc import Callable

import pytest
from redis.crc import key_slot
from walrus import Database

from consumers.keeper import Keeper
from pipeline.keys import STREAM_NOUNS, Keys
from pipeline.settings import Settings
from tests.world import T0, World, quote, row, tickers

EPOCH = "SPX:1787239200000:abcdef"
PANE = "2026-12-18:SPXW"
TICKER = "O:SPXW261218C06800000"

SPELLED: dict[str, Callable[[Keys], str]] = {
    "massive:chain:jobs": lambda keys: keys.stream("chain_jobs", "SPX"),
    "massive:chain:schedule": lambda keys: keys.chain_schedule("SPX"),
    "massive:chain:snapshot:SPX:2026-12-18:1787239200000": (
        lambda keys: keys.chain_snapshot("SPX", "2026-12-18", 1787239200000)
    ),
    "massive:chain:stream": lambda keys: keys.stream("chain", "SPX"),
    "massive:ws:stream": lambda keys: keys.stream("ws", "SPX"),
    "massive:ws:subscriptions:SPX": lambda keys: keys.subscriptions("SPX"),
    "massive:spot:stream": lambda keys: keys.stream("spot", "SPX"),
    "massive:model:spot:SPX": lambda keys: keys.spot("SPX"),
    "massive:model:spot:SPX:trail": lambda keys: keys.spot_trail("SPX"),
    "epoch:active": lambda keys: keys.epoch_active("SPX"),
    "epoch:staging": lambda keys: keys.epoch_staging("SPX"),
    f"epoch:meta:{EPOCH}": lambda keys: keys.epoch_meta(EPOCH),
    f"epoch:{EPOCH}:quotes:{PANE}": lambda keys: keys.registers(EPOCH, PANE)["quotes"],
    f"epoch:{EPOCH}:trades:{PANE}": lambda keys: keys.registers(EPOCH, PANE)["trades"],
    f"epoch:{EPOCH}:volumes:{PANE}": lambda keys: keys.registers(EPOCH, PANE)["volumes"],
    f"epoch:{EPOCH}:chain:{PANE}": lambda keys: keys.registers(EPOCH, PANE)["chain"],
    f"epoch:{EPOCH}:geometry": lambda keys: keys.geometry(EPOCH),
    f"epoch:{EPOCH}:dirty:{PANE}": lambda keys: keys.dirty(EPOCH, PANE),
    f"epoch:{EPOCH}:lease:{PANE}": lambda keys: keys.lease(EPOCH, PANE),
    f"epoch:{EPOCH}:tiles:{PANE}": lambda keys: keys.tiles(EPOCH, PANE),
    f"epoch:{EPOCH}:grids:{PANE}": lambda keys: keys.grids(EPOCH, PANE),
    f"epoch:{EPOCH}:staged": lambda keys: keys.staged(EPOCH),
    "epoch:retiring": lambda keys: keys.epoch_retiring("SPX"),
    "epoch:dirty": lambda keys: keys.epoch_dirty("SPX"),
    "epoch:clean": lambda keys: keys.epoch_clean("SPX"),
    "epoch:timeline:SPX": lambda keys: keys.epoch_timeline("SPX"),
    "massive:dirty:stream": lambda keys: keys.stream("dirty", "SPX"),
    "massive:diff:stream": lambda keys: keys.stream("diff", "SPX"),
    "massive:model:stream": lambda keys: keys.stream("model", "SPX"),
    "massive:models:dirty:SPX": lambda keys: keys.models_dirty("SPX"),
    "massive:models:lease:SPX": lambda keys: keys.models_lease("SPX"),
    "massive:commit:stream": lambda keys: keys.stream("commit", "SPX"),
    "massive:epoch:stream": lambda keys: keys.stream("epoch", "SPX"),
    "massive:heatmap:model:SPX": lambda keys: keys.model("heatmap", "SPX"),
    "massive:gex:model:SPX": lambda keys: keys.model("gex", "SPX"),
    "massive:gex:model:SPX:calls": lambda keys: keys.model("gex_calls", "SPX"),
    "massive:gex:model:SPX:puts": lambda keys: keys.model("gex_puts", "SPX"),
    "massive:market_mode:model:SPX": lambda keys: keys.model("market_mode", "SPX"),
    "massive:liquidity_intent:model:SPX": lambda keys: keys.model("liquidity_intent", "SPX"),
    "massive:dealer_gravity:model:SPX": lambda keys: keys.model("dealer_gravity", "SPX"),
    "massive:hydrate:analytics": lambda keys: keys.analytics("hydrate", "SPX"),
    "massive:hydrate:analytics:latency": lambda keys: keys.latency("hydrate", "SPX"),
    "massive:dead": lambda keys: keys.dead_of(keys.stream("ws", "SPX")),
}
SHARED: dict[str, Callable[[Keys], str]] = {
    "massive:workers": lambda keys: keys.workers(),
    "massive:dead": lambda keys: keys.dead(),
}


@pytest.mark.parametrize("namespace", ["", "replay:friday:"])
@pytest.mark.parametrize("name", SPELLED)
def test_both_layouts_spell_the_contracts_names(name: str, namespace: str) -> None:
    assert SPELLED[name](Keys("flat", namespace)) == namespace + name
    assert SPELLED[name](Keys("tagged", namespace)) == f"{namespace}{{SPX}}:{name}"


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("layout", ["flat", "tagged"])
def test_what_belongs_to_no_underlying_has_no_tag(name: str, layout: str) -> None:
    assert SHARED[name](Keys(layout, "replay:x:")) == "replay:x:" + name  # type: ignore[arg-type]


def test_a_stream_that_nobody_declared_is_refused() -> None:
    with pytest.raises(KeyError):
        Keys().stream("rumours", "SPX")


def test_underlyings_share_streams_when_flat_and_have_their_own_when_tagged() -> None:
    for noun in STREAM_NOUNS:
        assert len(Keys("flat").streams(noun, ("SPX", "NDX"))) == 1
        assert len(Keys("tagged").streams(noun, ("SPX", "NDX"))) == 2


def test_no_two_names_are_the_same_key() -> None:
    keys = Keys("tagged")
    for symbol, other in (("SPX", "NDX"),):
        names = keys.names(symbol, EPOCH)
        assert len(set(names.values())) == len(names)
        assert not set(names.values()) & set(keys.names(other, "NDX:1:000000").values())


@pytest.mark.parametrize("namespace", ["", "replay:friday:"])
def test_all_keys_of_an_underlying_share_its_slot_when_tagged(namespace: str) -> None:
    keys = Keys("tagged", namespace)
    slot = key_slot(b"SPX")
    assert {key_slot(spell(keys).encode()) for spell in SPELLED.values()} == {slot}
    assert {key_slot(key.encode()) for key in keys.names("SPX", EPOCH).values()} == {slot}
    assert slot != key_slot(b"NDX")


def test_a_session_in_the_tagged_layout_writes_nothing_outside_of_its_slot(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> None:
    world = World(
        database, make_settings(redis_url=redis_url, layout="tagged", namespace="replay:x:", symbols=("SPX",))
    )
    world.chain([row(ticker) for ticker in tickers()])
    world.frame([quote(tickers()[0], 3.0, 4.0, T0 + 5, 9)])
    world.frame(b"no frame")
    world.spot(7551.0, T0 + 6)
    world.settle()
    world.chain([row(ticker, ts=T0 + 9) for ticker in tickers(strikes=range(7400, 7605, 5))], ts=T0 + 9)
    world.settle()
    keeper = Keeper(world.settings, database)
    for duty in keeper.duties:
        duty.do()
    keys = [key.decode() for key in database.scan_iter(count=1000)]
    assert len(keys) > 40
    assert [key for key in keys if not key.startswith("replay:x:{SPX}:")] == []
    assert {key_slot(key.encode()) for key in keys} == {key_slot(b"SPX")}
    assert database.xlen(world.keys.dead_of(world.keys.stream("ws", "SPX"))) == 1
