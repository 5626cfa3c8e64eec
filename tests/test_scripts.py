"""The scripts: their headers, and what the ones that keep streams, groups and epochs promise."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from redis.exceptions import ResponseError
from walrus import Database

from consumers.keeper import GROUPS, Keeper
from pipeline import scripts as scripts_module
from pipeline.registers import REGISTERS
from pipeline.scripts import Call, Scripts, sources
from pipeline.settings import Settings
from pipeline.shipped import shipped
from tests.waiting import wait_until
from tests.world import T0, World, quote, row, tickers

REPOSITORY = Path(__file__).parents[1]
STREAM, GROUP = "massive:dirty:stream", "calculate"
_KEY_NAME = re.compile(r"\b(massive|epoch|vigil|vexy):")


@pytest.fixture
def scripts(database: Database) -> Scripts:
    return Scripts(database)


@pytest.fixture
def world(database: Database, settings: Settings) -> World:
    return World(database, settings)


# --- the folder's rules ---
@pytest.mark.parametrize("path", sorted(shipped("lua").glob("*.lua")), ids=lambda path: path.stem)
def test_a_script_says_lua_and_names_its_keys_and_arguments_once(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#!lua")
    header = text.partition("]]\n")[0]
    assert "Returns" in header
    for kind in ("KEYS", "ARGV"):
        named = re.findall(rf"{kind}\[(\d+)\] +(\w+)", header)
        assert sorted(int(position) for position, _ in named) == list(range(1, len(named) + 1))
        assert len({name for _, name in named}) == len(named)
        used = {int(position) for position in re.findall(rf"{kind}\[(\d+)\]", text)}
        assert used == set(range(1, len(named) + 1))
    source = sources()[path.stem]
    assert "-- @include" not in source.text


def test_only_trimming_runs_with_memory_full() -> None:
    assert [name for name, source in sources().items() if "allow-oom" in source.text.partition("\n")[0]] == ["trim"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("--[[\nKEYS[1] a\n]]\n", "does not begin with #!lua"),
        ("#!lua\n--[[\nKEYS[1] a\nKEYS[3] b\n]]\n", "does not name each of its KEYS once"),
        ("#!lua\n--[[\nARGV[2] a\n]]\n", "does not name each of its ARGV once"),
    ],
)
def test_a_script_that_breaks_the_rules_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "wrong.lua").write_text(text)
    with pytest.raises(ValueError, match=re.escape(why)):
        scripts_module._read(tmp_path / "wrong.lua")


def test_a_call_with_wrong_names_fails_before_the_server(settings: Settings, server_kind: str) -> None:
    from pipeline.database import connect

    nowhere = Scripts(connect("redis://127.0.0.1:1/0"))
    good: dict[str, Any] = {"group": "g", "consumer": "c"}
    with pytest.raises(TypeError, match=r"leave\.lua: missing or unknown stream"):
        nowhere.run("leave", {}, good)
    with pytest.raises(TypeError, match="missing or unknown stram, stream"):
        nowhere.run("leave", {"stram": "s"}, good)
    with pytest.raises(TypeError, match="missing or unknown consumer"):
        nowhere.run("leave", {"stream": "s"}, {"group": "g"})
    with pytest.raises(TypeError, match="missing or unknown more"):
        nowhere.run("leave", {"stream": "s"}, {**good, "more": 1})


NO_VALUES = msgpack.packb([[], [], [], []])


def reading(tiles: str) -> Call:
    """A call that writes nothing, of a key that should be a hash."""
    registers = dict.fromkeys(REGISTERS, "none:")
    return Call("read_values", {"tiles": tiles}, {"registers": registers, "pane": "p", "tickers": []})


def test_a_server_that_has_forgotten_the_scripts_is_given_them_again(database: Database) -> None:
    scripts = Scripts(database)
    call = reading("t")
    database.script_flush()
    nothing = [0, NO_VALUES]
    assert scripts.run_all([call, call]) == [nothing, nothing]
    database.script_flush()
    with scripts.conversation() as server:
        server.send(call)
        server.send(call)
        assert [server.reply(), server.reply()] == [nothing, nothing]


def test_of_calls_sent_together_the_first_error_is_raised_and_the_others_are_done(database: Database) -> None:
    scripts = Scripts(database)
    database.set("h", "no hash")
    database.hset("t", "claims", 7)
    good, bad = reading("t"), reading("h")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        scripts.run_all([good, bad])
    held = [7, NO_VALUES]
    with scripts.conversation() as server:
        for call in (bad, good):
            server.send(call)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            server.reply()
        assert server.reply() == held
    assert scripts.run_all([good]) == [held], "its connection is fit for use"


def test_who_leaves_a_conversation_early_leaves_no_reply_to_the_next(database: Database) -> None:
    scripts = Scripts(database)
    database.hset("t", "claims", 7)
    with scripts.conversation() as server:
        server.send(reading("t"))
    assert scripts.run_all([reading("none")]) == [[0, NO_VALUES]]


def test_no_key_name_is_spelled_outside_of_keys() -> None:
    spelled = []
    for path in [*(REPOSITORY / "pipeline").rglob("*.py"), *(REPOSITORY / "consumers").rglob("*.py")]:
        if path.name != "keys.py":
            spelled += [f"{path.name}:{line}: {text!r}" for line, text in _strings(path) if _KEY_NAME.search(text)]
    for path in (REPOSITORY / "lua").rglob("*.lua"):
        code = re.sub(r"--\[\[.*?\]\]", "", path.read_text(), flags=re.DOTALL)
        texts = re.findall(r"'[^'\n]*'", re.sub(r"--.*", "", code))
        spelled += [f"{path.name}: {text}" for text in texts if _KEY_NAME.search(text)]
    assert spelled == []


def _strings(path: Path) -> list[tuple[int, str]]:
    """Text constants that are no documentation."""
    tree = ast.parse(path.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value) for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    ]


# --- trim ---
def trim(scripts: Scripts, keep_from: str, *groups: str) -> int:
    return int(scripts.run("trim", {"stream": STREAM}, {"keep_from": keep_from, "groups": list(groups)}))


def fill(database: Database, count: int = 10) -> list[str]:
    """Entries 1-0, 2-0, ..."""
    return [database.xadd(STREAM, {"n": n}, id=f"{n}-0").decode() for n in range(1, count + 1)]


def left(database: Database) -> list[str]:
    return [entry.decode() for entry, _ in database.xrange(STREAM)]


def read(database: Database, count: int, group: str = GROUP, consumer: str = "one") -> list[str]:
    rows = database.xreadgroup(group, consumer, {STREAM: ">"}, count=count)
    return [entry.decode() for entry, _ in rows[0][1]]


def test_trim_keeps_what_a_replay_may_still_want(database: Database, scripts: Scripts) -> None:
    fill(database)
    assert trim(scripts, "4-0") == 3
    assert left(database)[0] == "4-0"
    assert trim(scripts, "4-0") == 0


def test_trim_never_goes_ahead_of_a_group_that_has_not_read(database: Database, scripts: Scripts) -> None:
    fill(database)
    database.xgroup_create(STREAM, GROUP, "0")
    assert trim(scripts, "99-0", GROUP) == 0
    database.xack(STREAM, GROUP, *read(database, 6))
    assert trim(scripts, "99-0", GROUP) == 5
    assert left(database) == ["6-0", "7-0", "8-0", "9-0", "10-0"], "the last that was delivered stays"


def test_trim_never_goes_ahead_of_a_pending_entry(database: Database, scripts: Scripts) -> None:
    fill(database)
    database.xgroup_create(STREAM, GROUP, "0")
    ids = read(database, 10)
    database.xack(STREAM, GROUP, *ids[:2], *ids[3:])
    assert trim(scripts, "99-0", GROUP) == 2
    assert left(database)[0] == "3-0"
    database.xack(STREAM, GROUP, ids[2])
    assert trim(scripts, "99-0", GROUP) == 7


def test_trim_waits_for_the_slowest_of_several_groups(database: Database, scripts: Scripts) -> None:
    fill(database)
    for group, done in ((GROUP, 8), ("stranger", 3)):
        database.xgroup_create(STREAM, group, "0")
        database.xack(STREAM, group, *read(database, done, group))
    assert trim(scripts, "99-0", GROUP) == 2
    assert left(database)[0] == "3-0"


def test_trim_does_nothing_while_an_expected_group_is_missing(database: Database, scripts: Scripts) -> None:
    fill(database)
    assert trim(scripts, "99-0", GROUP) == 0
    database.xgroup_create(STREAM, "stranger", "$")
    assert trim(scripts, "99-0", GROUP) == 0
    assert len(left(database)) == 10


def test_trim_compares_ids_by_number_not_as_text(database: Database, scripts: Scripts) -> None:
    for entry in ("9-0", "9-9", "9-10", "10-0", "100-0"):
        database.xadd(STREAM, {"n": 1}, id=entry)
    database.xgroup_create(STREAM, GROUP, "0")
    database.xack(STREAM, GROUP, *read(database, 3))
    assert trim(scripts, "10-0", GROUP) == 2
    assert left(database) == ["9-10", "10-0", "100-0"]


def test_trim_of_a_stream_that_is_not_there_makes_none(database: Database, scripts: Scripts) -> None:
    assert trim(scripts, "99-0", GROUP) == 0
    assert not database.exists(STREAM)


def test_trim_makes_room_when_memory_is_full(private_server: Any) -> None:
    from pipeline.database import connect

    database = connect(private_server.url)
    scripts = Scripts(database)
    fill(database)
    database.config_set("maxmemory", 1)
    assert trim(scripts, "6-0") == 5
    database.connection_pool.disconnect()


# --- leave, renew ---
def consumers(database: Database) -> set[str]:
    return {row["name"].decode() for row in database.xinfo_consumers(STREAM, GROUP)}


def leave(scripts: Scripts, consumer: str) -> int:
    return int(scripts.run("leave", {"stream": STREAM}, {"group": GROUP, "consumer": consumer}))


def test_who_leaves_hands_over_what_it_owns_to_be_taken_at_once_and_no_failure(
    database: Database, scripts: Scripts
) -> None:
    ids = fill(database, 250)
    database.xgroup_create(STREAM, GROUP, "0")
    (theirs,) = read(database, 1, consumer="two")
    mine = read(database, 249)
    database.xdel(STREAM, mine[7])
    assert leave(scripts, "one") == 1
    assert consumers(database) == {"two"}
    rows = {row["message_id"].decode(): row for row in database.xpending_range(STREAM, GROUP, "-", "+", 300)}
    assert list(rows) == [entry for entry in ids if entry != mine[7]], "all but what the stream no longer holds"
    assert {row["consumer"] for row in rows.values()} == {b"two"}
    assert {rows[entry]["times_delivered"] for entry in mine if entry in rows} == {0}
    _, taken, _ = database.xautoclaim(STREAM, GROUP, "three", 3_000_000, count=300)
    assert [row[0].decode() for row in taken] == [entry for entry in rows if entry != theirs]


def test_the_heir_is_who_was_heard_of_last(database: Database, scripts: Scripts) -> None:
    fill(database, 3)
    database.xgroup_create(STREAM, GROUP, "0")
    read(database, 1, consumer="dead")
    wait_until(lambda: database.xinfo_consumers(STREAM, GROUP)[0]["idle"] > 20, "a silence that counts")
    for consumer in ("one", "live"):
        read(database, 1, consumer=consumer)
    assert leave(scripts, "one") == 1
    owners = [row["consumer"] for row in database.xpending_range(STREAM, GROUP, "-", "+", 9)]
    assert owners == [b"dead", b"live", b"live"]


def test_the_last_leaves_only_when_it_owns_nothing(database: Database, scripts: Scripts) -> None:
    fill(database, 1)
    database.xgroup_create(STREAM, GROUP, "0")
    (entry,) = read(database, 1)
    assert leave(scripts, "one") == 0
    assert consumers(database) == {"one"}
    (row,) = database.xpending_range(STREAM, GROUP, "-", "+", 1)
    assert row["times_delivered"] == 0
    assert [row[0].decode() for row in database.xautoclaim(STREAM, GROUP, "two", 3_000_000)[1]] == [entry]
    database.xack(STREAM, GROUP, entry)
    assert leave(scripts, "one") == 1
    assert consumers(database) == {"two"}


def test_renewing_steals_nothing(database: Database, scripts: Scripts) -> None:
    fill(database, 2)
    database.xgroup_create(STREAM, GROUP, "0")
    mine, = read(database, 1)
    theirs, = read(database, 1, consumer="two")
    database.xclaim(STREAM, GROUP, "one", 0, [mine], idle=50_000, justid=True)
    renewed = scripts.run(
        "renew", {"stream": STREAM}, {"group": GROUP, "consumer": "one", "entries": [mine, theirs]}
    )
    assert renewed == [mine.encode()]
    rows = {row["message_id"].decode(): row for row in database.xpending_range(STREAM, GROUP, "-", "+", 9)}
    assert rows[mine]["time_since_delivered"] < 50_000
    assert rows[theirs]["consumer"] == b"two"


# --- bury, revive ---
def bury(scripts: Scripts, entry: str) -> int:
    return int(scripts.run(
        "bury", {"stream": STREAM, "dead": "massive:dead"},
        {"group": GROUP, "consumer": "one", "entry": entry, "error": "why", "attempts": 5, "ts": T0,
         "fields": ["field:n", "1", "field:raw", b"\xff\x00"]},
    ))


def test_an_entry_is_buried_once_and_acknowledged_in_the_same_call(database: Database, scripts: Scripts) -> None:
    fill(database, 1)
    database.xgroup_create(STREAM, GROUP, "0")
    (entry,) = read(database, 1)
    assert bury(scripts, entry) == 1
    assert bury(scripts, entry) == 0
    ((_, fields),) = database.xrange("massive:dead")
    assert fields == {
        b"stage": GROUP.encode(), b"stream": STREAM.encode(), b"id": entry.encode(), b"error": b"why",
        b"attempts": b"5", b"ts": str(T0).encode(), b"field:n": b"1", b"field:raw": b"\xff\x00",
    }
    assert database.xpending(STREAM, GROUP)["pending"] == 0


def test_a_letter_is_revived_once_as_a_new_entry(database: Database, scripts: Scripts) -> None:
    letter = database.xadd("massive:dead", {"stage": "x"}).decode()
    revive: Callable[[], int] = lambda: scripts.run(  # noqa: E731
        "revive", {"dead": "massive:dead", "stream": STREAM}, {"letter": letter, "fields": ["n", "1"]}
    )
    assert revive() == 1
    assert revive() == 0
    assert [fields for _, fields in database.xrange(STREAM)] == [{b"n": b"1"}]
    assert database.xlen("massive:dead") == 0


# --- epochs ---
def keeper_of(world: World) -> Keeper:
    return Keeper(world.settings, world.database)


def test_only_past_epochs_are_given_a_ttl(world: World, scripts: Scripts) -> None:
    keys, database = world.keys, world.database

    def retire(epoch: str, last: int = 1) -> int:
        return int(scripts.run(
            "retire",
            {"retiring": keys.epoch_retiring("SPX"), "active": keys.epoch_active("SPX"),
             "staging": keys.epoch_staging("SPX")},
            {"symbol": "SPX", "epoch": epoch, "ttl_s": 300, "keys": [f"{epoch}:a", f"{epoch}:b"], "last": last},
        ))

    for epoch in ("active", "staging", "past", "stranger"):
        database.mset({f"{epoch}:a": 1, f"{epoch}:b": 1})
    database.hset(keys.epoch_active("SPX"), "SPX", "active")
    database.hset(keys.epoch_staging("SPX"), "SPX", "staging")
    database.sadd(keys.epoch_retiring("SPX"), "active", "staging", "past")
    assert [retire(epoch) for epoch in ("active", "staging", "stranger")] == [0, 0, 0]
    assert retire("past", last=0) == 1
    assert database.sismember(keys.epoch_retiring("SPX"), "past"), "its keys are not all done yet"
    assert retire("past") == 1
    assert retire("past") == 0
    ttls = {key.decode(): database.ttl(key) for key in database.keys("*:a")}
    assert ttls == {"active:a": -1, "staging:a": -1, "stranger:a": -1, "past:a": pytest.approx(300, abs=2)}


def permanent(world: World) -> re.Pattern[str]:
    """What stays by declaration. Everything else in the database must have a TTL."""
    keys = world.keys
    declared = {keys.stream(noun, "SPX") for noun in GROUPS} | {
        keys.chain_schedule("SPX"), keys.chain_job("SPX"), keys.spot("SPX"), keys.spot_trail("SPX"),
        keys.clock("SPX"), keys.sequence("SPX"), keys.epoch_active("SPX"), keys.epoch_staging("SPX"),
        keys.epoch_retiring("SPX"), keys.epoch_dirty("SPX"), keys.epoch_clean("SPX"), keys.epoch_timeline("SPX"),
        keys.models_dirty("SPX"), keys.models_lease("SPX"), keys.models_state("SPX"), keys.subscriptions("SPX"),
        keys.workers(), keys.dead(), keys.analytics("keeper"),
    } | {keys.analytics(source, "SPX") for source in ("chain", "ws", "spot", "hydrate", "calculate", "models")}
    names = [re.escape(key) for key in declared]
    epoch = world.epoch()
    return re.compile("|".join([*names, rf"epoch:meta:{epoch}", rf"epoch:{epoch}:.*"]))


def leaks(world: World) -> dict[str, list[str]]:
    """Keys without a TTL that nobody declared, and keys of the active epoch that have one."""
    forever, epoch = permanent(world), world.epoch()
    undeclared, fading = [], []
    for raw in world.database.scan_iter(count=1000):
        key = raw.decode()
        ttl = world.database.ttl(key)
        if ttl == -1 and not forever.fullmatch(key):
            undeclared.append(key)
        if ttl != -1 and epoch in key:
            fading.append(key)
    return {"undeclared": sorted(undeclared), "fading": sorted(fading)}


def session(world: World) -> None:
    """Three epochs, with ticks, spots and bad frames all along."""
    listed = tickers()
    engines = [world.engine(stage) for stage in ("normalize", "hydrate", "calculate", "models")]
    for number, strikes in enumerate((range(7500, 7605, 5), range(7500, 7610, 5), range(7500, 7615, 5))):
        at = T0 + number * 60_000
        world.chain([row(ticker, ts=at) for ticker in tickers(strikes=strikes)], ts=at)
        world.frame([quote(ticker, 9.0 + number, 10.5 + number, at + 1000, number + 1) for ticker in listed[:9]])
        world.frame(b"{", "SPX")
        world.spot(7551.0 + number, at + 2000)
        world.settle(engines)
    assert world.database.xlen(world.keys.dead()) == 3


def test_every_key_is_permanent_by_declaration_or_has_a_ttl(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> None:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",)))
    keeper = keeper_of(world)
    session(world)
    keeper.schedule()
    keeper.audit()
    keeper.repair()
    keeper.trim()
    keeper.retire()
    assert leaks(world) == {"undeclared": [], "fading": []}
    past = [key.decode() for key in world.database.scan_iter(match="epoch:*", count=1000)
            if b":quotes:" in key and world.epoch() not in key.decode()]
    assert len(past) == 2
    assert all(0 < world.database.ttl(key) <= 300 for key in past)
    assert world.database.scard(world.keys.epoch_retiring("SPX")) == 0


class Dying(Scripts):
    """The scripts of a process that dies before it calls one of them."""

    last_words = ""

    def run(self, name: str, keys: Any, arguments: Any) -> Any:
        if name == self.last_words:
            raise SystemExit(name)
        return super().run(name, keys, arguments)


def test_an_epoch_that_is_given_up_half_staged_is_let_go_too(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, scripts: Scripts
) -> None:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",)))
    world.chain([row(ticker) for ticker in tickers()])
    world.settle()
    normalize = world.engine("normalize")
    normalize.stage.scripts = dying = Dying(database)
    dying.last_words = "promote"
    chain = world.chain([row(ticker, ts=T0 + 9) for ticker in tickers(strikes=range(7480, 7605, 5))], ts=T0 + 9)
    with pytest.raises(SystemExit):
        normalize.step()
    given_up = database.hget(world.keys.epoch_staging("SPX"), "SPX").decode()
    world.frame([quote(tickers()[0], 3.0, 4.0, T0 + 5, 9)])
    world.engine("hydrate").step()
    assert scripts.run(
        "bury", {"stream": world.keys.stream("chain", "SPX"), "dead": world.keys.dead()},
        {"group": "normalize", "consumer": "another", "entry": chain, "error": "it kills", "attempts": 11, "ts": T0,
         "fields": []},
    )
    world.chain([row(ticker, ts=T0 + 99) for ticker in tickers(strikes=range(7490, 7605, 5))], ts=T0 + 99)
    world.settle()
    assert world.epoch() != given_up
    assert not database.hexists(world.keys.epoch_staging("SPX"), "SPX")
    assert world.contract(tickers()[0])["bid"] == "10", "the newer chain's quote; the tick was older"
    keeper_of(world).retire()
    assert leaks(world) == {"undeclared": [], "fading": []}
    let_go = [key for key in database.scan_iter(count=1000) if given_up in key.decode()]
    assert len(let_go) >= len(REGISTERS)
    assert all(0 < database.ttl(key) <= 300 for key in let_go)


def test_a_late_worker_brings_no_key_of_a_past_epoch_back(world: World) -> None:
    """Frames, marks and publications that were read before the switch and committed after it, with the keys gone."""
    world.chain([row(ticker) for ticker in tickers()])
    world.settle()
    old = world.epoch()
    world.frame([quote(tickers()[0], 3.0, 4.0, T0 + 5, 9)])
    hydrate, calculate = world.engine("hydrate"), world.engine("calculate")
    hydrate.step()  # a mark that nobody has computed
    world.chain([row(ticker, ts=T0 + 9) for ticker in tickers(strikes=range(7400, 7605, 5))], ts=T0 + 9)
    world.engine("normalize").step()
    keeper_of(world).retire()
    for key in world.database.scan_iter(match=f"epoch:*{old}*", count=1000):
        world.database.delete(key)
    world.frame([quote(tickers()[0], 5.0, 6.0, T0 + 6, 10)])
    hydrate.step()
    calculate.step()
    world.settle()
    assert [key for key in world.database.scan_iter(count=1000) if old in key.decode()] == []


def test_an_epoch_begun_again_after_it_was_given_up_lives_without_a_ttl(world: World, scripts: Scripts) -> None:
    """A chain that was buried half-staged, let go, and revived from the dead letters: the same epoch id again."""
    rows = [row(ticker) for ticker in tickers()]
    world.chain(rows)
    world.settle()
    keys, database = world.keys, world.database
    wider = [row(ticker, ts=T0 + 9) for ticker in tickers(strikes=range(7480, 7605, 5))]
    world.chain(wider, ts=T0 + 9)
    world.settle()
    given_up, active = world.epoch(), database.lrange(keys.epoch_timeline("SPX"), 1, 1)[0].decode().split("|")[1]
    # As it was in the middle of the second chain: the first epoch active, of the second only some keys, with a TTL.
    database.hset(keys.epoch_active("SPX"), "SPX", active)
    database.hset(keys.epoch_meta(active), "state", "active")
    database.sadd(keys.staged(given_up), 0)
    database.srem(keys.epoch_retiring("SPX"), active)
    for key in database.scan_iter(match=f"epoch:*{given_up}*", count=1000):
        database.expire(key, 300)
    world.chain(wider, ts=T0 + 9)
    world.engine("normalize").step()
    assert world.epoch() == given_up
    made = [keys.geometry(given_up), keys.epoch_meta(given_up)]
    panes = [pane.decode() for pane in database.hkeys(keys.geometry(given_up))]
    made += [key for pane in panes for key in keys.registers(given_up, pane).values()]
    assert len(world.contracts()) == len(wider)
    assert {database.ttl(key) for key in made} == {-1}
