"""The commands that look: status, epoch inspect, dead and doctor on a server with something on it."""

import json
from pathlib import Path

import pytest
from walrus import Database

from pipeline.deadletters import bury, dead_letters
from pipeline.entry import Entry
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from tests.cli.run import marketswarm, refused

KEYS = Keys()
EPOCH = "SPX:1700000000000:abcdef"


@pytest.fixture
def published(database: Database) -> Database:
    seconds, _ = database.time()
    database.hset(KEYS.epoch_active("SPX"), "SPX", EPOCH)
    database.hset(KEYS.epoch_meta(EPOCH), mapping={
        "symbol": "SPX", "state": "active", "created_ts": (seconds - 10) * 1000, "contracts": 8000, "panes": 40,
    })
    database.hset(KEYS.models_state("SPX"), mapping={"heatmap:version": 9, "heatmap:ts": seconds * 1000,
                                                     "gex:version": 7, "gex:ts": seconds * 1000})
    return database


@pytest.fixture
def letter(database: Database) -> str:
    """One buried entry of the ws stream; the id of its letter."""
    stream = KEYS.stream("ws", "SPX")
    database.xgroup_create(stream, "hydrate", "0", mkstream=True)
    entry_id = database.xadd(stream, {"payload": b"[not json", "ts": 5}).decode()
    fields = database.xreadgroup("hydrate", "one", {stream: ">"})[0][1][0][1]
    assert bury(Scripts(database), KEYS, "hydrate", "one", Entry(stream, entry_id, fields, ""), "[/] not JSON", 5)
    return dead_letters(database, KEYS.dead())[0].id


def test_status_json_has_the_whole_of_it(published: Database, redis_url: str) -> None:
    answer = marketswarm("status", "--json", REDIS_URL=redis_url)
    status = json.loads(answer.stdout)
    assert set(status) == {"redis", "dashboard", "stages", "epochs", "models", "dead", "drift"}
    assert "@" not in status["redis"]
    assert set(status["stages"]) == {"chain", "normalize", "hydrate", "calculate", "models", "vigil", "vexy"}
    assert set(status["stages"]["hydrate"]) == {
        "lag", "pending", "oldest_ms", "undelivered_ms", "pending_ms", "consumers",
    }
    assert {"epoch", "state", "age_ms", "contracts", "panes", "dirty"} <= set(status["epochs"]["SPX"])
    assert status["models"]["SPX"]["gex"]["version"] == 7


def test_status_for_people_shows_the_versions(published: Database, redis_url: str) -> None:
    text = marketswarm("status", REDIS_URL=redis_url).stdout
    row = next(line.split() for line in text.splitlines() if line.startswith("SPX"))
    assert row[0] == "SPX"
    assert {"8000", "40", "9", "7"} <= set(row)


def test_epoch_inspect_is_a_line_an_underlying(published: Database, redis_url: str) -> None:
    lines = marketswarm("epoch", "inspect", REDIS_URL=redis_url).stdout.splitlines()
    assert lines[0].split() == ["SYMBOL", "EPOCH", "AGE", "DIRTY", "DORMANT", "FORCED", "WS", "HEATMAP", "GEX"]
    assert lines[1].split()[:2] == ["SPX", EPOCH]
    assert lines[1].split()[-2:] == ["9", "7"]
    assert len(marketswarm("epoch", "inspect", "ndx", REDIS_URL=redis_url).stdout.splitlines()) == 1


def test_a_dead_letter_is_listed_with_its_error(letter: str, redis_url: str) -> None:
    text = marketswarm("dead", "list", REDIS_URL=redis_url).stdout
    assert letter in text
    assert "[/] not JSON" in text


def test_a_dead_letter_is_put_back_whole(letter: str, database: Database, redis_url: str) -> None:
    assert marketswarm("dead", "retry", letter, REDIS_URL=redis_url).stdout == "1 put back\n"
    assert dead_letters(database, KEYS.dead()) == []
    assert database.xrevrange(KEYS.stream("ws", "SPX"), count=1)[0][1] == {b"payload": b"[not json", b"ts": b"5"}


def test_dead_letters_are_dropped(letter: str, database: Database, redis_url: str) -> None:
    assert marketswarm("dead", "drop", "--all", REDIS_URL=redis_url).stdout == "1 dropped\n"
    assert dead_letters(database, KEYS.dead()) == []


@pytest.mark.parametrize("words", [(), ("--all", "1-1")])
def test_letters_are_named_or_all(words: tuple[str, ...], database: Database, redis_url: str) -> None:
    assert "or say --all" in refused(marketswarm("dead", "drop", *words, REDIS_URL=redis_url))


def test_a_letter_that_is_not_there_is_said(database: Database, redis_url: str) -> None:
    assert refused(marketswarm("dead", "drop", "1-1", REDIS_URL=redis_url), 1) == "no letter 1-1"


def test_doctor_is_content_with_a_server_and_no_key(redis_url: str, database: Database, tmp_path: Path) -> None:
    answer = marketswarm("doctor", "--data-dir", str(tmp_path), REDIS_URL=redis_url)
    assert answer.returncode == 0, answer.stdout
    assert "noeviction" in answer.stdout


def test_doctor_says_what_to_mend(tmp_path: Path) -> None:
    answer = marketswarm("doctor", "--data-dir", str(tmp_path), REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert answer.returncode == 1
    assert "no Redis at redis://127.0.0.1:1/0" in answer.stdout
    assert "->" in answer.stdout
    assert "hunter2" not in answer.stdout + answer.stderr
