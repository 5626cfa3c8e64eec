"""What `status` says, against streams, groups and epochs made by hand."""

import pytest
from walrus import Database

from pipeline.keys import Keys
from pipeline.status import STAGE_STREAMS, Status, read_status

KEYS = Keys()


def read(database: Database, keys: Keys = KEYS) -> Status:
    return read_status(database, keys, ("SPX", "NDX"))


@pytest.fixture(params=["flat", "tagged"])
def keys(request: pytest.FixtureRequest) -> Keys:
    return Keys(request.param, "replay:x:")


def test_an_empty_server_has_nothing_to_do(database: Database) -> None:
    status = read(database)
    assert list(status.stages) == list(STAGE_STREAMS)
    assert all((stage.lag, stage.pending, stage.oldest_ms, stage.consumers) == (0, 0, None, 0)
               for stage in status.stages.values())
    assert (status.epochs, status.dead, status.drift) == ({}, 0, 0)
    assert status.models == {"SPX": {}, "NDX": {}}


def test_what_nobody_reads_yet_is_all_lag(database: Database, keys: Keys) -> None:
    for symbol in ("SPX", "NDX"):
        database.xadd(keys.stream("dirty", symbol), {"a": "b"})
    assert read(database, keys).stages["calculate"].lag == 2


def test_lag_pending_and_age_follow_the_group(database: Database) -> None:
    stream = KEYS.stream("ws", "SPX")
    seconds, _ = database.time()
    for number in range(5):
        database.xadd(stream, {"a": "b"}, id=f"{(seconds - 60 + number) * 1000}-0")
    database.xgroup_create(stream, "hydrate", "0")
    hydrate = read(database).stages["hydrate"]
    assert (hydrate.lag, hydrate.pending, hydrate.consumers) == (5, 0, 0)
    assert hydrate.oldest_ms is not None
    assert 59_000 < hydrate.oldest_ms < 62_000

    database.xreadgroup("hydrate", "one", {stream: ">"}, count=2)
    hydrate = read(database).stages["hydrate"]
    assert (hydrate.lag, hydrate.pending, hydrate.consumers) == (3, 2, 1)
    assert hydrate.oldest_ms is not None
    assert 59_000 < hydrate.oldest_ms < 62_000, "the oldest is pending now, and as old"

    rows = database.xreadgroup("hydrate", "one", {stream: ">"})[0][1]
    database.xack(stream, "hydrate", *[entry for entry, _ in rows])
    assert read(database).stages["hydrate"].lag == 0


def test_a_stage_of_two_streams_counts_both_and_its_consumer_once(database: Database) -> None:
    for noun in ("ws", "spot"):
        stream = KEYS.stream(noun, "SPX")
        database.xadd(stream, {"a": "b"})
        database.xgroup_create(stream, "hydrate", "0")
        database.xgroup_createconsumer(stream, "hydrate", "one")
    hydrate = read(database).stages["hydrate"]
    assert (hydrate.lag, hydrate.consumers) == (2, 1)


def test_lag_is_counted_where_the_server_has_lost_count(database: Database) -> None:
    stream = KEYS.stream("diff", "SPX")
    ids = [database.xadd(stream, {"a": "b"}) for _ in range(6)]
    database.xgroup_create(stream, "models", "0")
    database.xreadgroup("models", "one", {stream: ">"}, count=1)
    database.xdel(stream, ids[3])  # a hole before the end makes the server's own count unknown
    assert database.xinfo_groups(stream)[0]["lag"] is None
    assert read(database).stages["models"].lag == 4


def test_epochs_and_versions_are_read_by_symbol(database: Database, keys: Keys) -> None:
    seconds, _ = database.time()
    epoch = "SPX:1700000000000:abcdef"
    database.hset(keys.epoch_active("SPX"), "SPX", epoch)
    database.hset(keys.epoch_meta(epoch), mapping={
        "symbol": "SPX", "state": "active", "created_ts": (seconds - 10) * 1000, "contracts": 8000, "panes": 40,
        "dormant_count": 2, "ws_updates": 77,
    })
    database.sadd(keys.dirty_panes(epoch), "2026-12-18:SPX", "2026-12-18:SPXW")
    database.hset(keys.models_state("SPX"), mapping={
        "heatmap:version": 9, "heatmap:ts": (seconds - 3) * 1000, "heatmap:epoch": epoch, "queued": "1-1|2|3-3",
    })
    status = read(database, keys)
    found = status.epochs["SPX"]
    assert (found.epoch, found.state, found.contracts, found.panes, found.dirty) == (epoch, "active", 8000, 40, 2)
    assert (found.dormant, found.ws_updates) == (2, 77)
    assert 9_000 < found.age_ms < 12_000
    assert list(status.models["SPX"]) == ["heatmap"]
    assert status.models["SPX"]["heatmap"].version == 9
    assert 2_000 < status.models["SPX"]["heatmap"].age_ms < 5_000
    assert "NDX" not in status.epochs


def test_an_underlying_that_nobody_named_is_found_by_its_epoch(database: Database) -> None:
    epoch = "RUT:1700000000000:abcdef"
    database.hset(KEYS.epoch_active("RUT"), "RUT", epoch)
    assert list(read(database).epochs) == ["RUT"]


def test_dead_letters_and_drift_are_summed(database: Database, keys: Keys) -> None:
    for symbol in ("SPX", "NDX"):
        database.xadd(keys.dead_of(keys.stream("ws", symbol)), {"a": "b"})
    database.hset(keys.analytics("keeper", "SPX"), "drift", 3)
    status = read(database, keys)
    assert (status.dead, status.drift) == (2, 3)
