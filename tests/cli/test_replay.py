"""`replay`, `record` and `diff` as their users run them, and what they refuse."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from walrus import Database

from pipeline.cli import main
from pipeline.keys import Keys
from pipeline.settings import Settings
from tests.cli.run import marketswarm, refused
from tests.properties.chaos import Chaos
from tests.replay.sessions import Session, now_ms, session_settings
from tests.world import World

WINDOW = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:05:00Z")


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    return World(database, session_settings(make_settings, redis_url))


def test_a_session_is_recorded_verified_replayed_compared_and_dropped(
    world: World, redis_url: str, tmp_path: Path
) -> None:
    drawn, chaos = random.Random(21), Chaos(world, 2, {}, batch_max=16)
    for _ in Session(world, 21, 300).moves():
        for index in drawn.sample(range(len(chaos.engines)), len(chaos.engines)):
            chaos.step(index)
    chaos.settle()
    end = datetime.fromtimestamp(now_ms(world.database) / 1000, UTC).isoformat()
    file = tmp_path / "session.msw"
    variables = {"REDIS_URL": redis_url, "MASSIVE_SYMBOLS": "SPX", "MASSIVE_SCOPE": "full",
                 "MASSIVE_WIDTHS": "SPX=20,40"}
    recorded = marketswarm("record", "--from", "2026-01-01T00:00:00Z", "--to", end, "-o", str(file), **variables)
    assert recorded.returncode == 0, recorded.stderr
    keys = set(world.database.keys())

    elsewhere = {**variables, "MASSIVE_WIDTHS": "SPX=60", "MASSIVE_SYMBOLS": "SPX,NDX"}  # the file says its own
    verified = marketswarm("replay", str(file), "--verify", **elsewhere)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.splitlines()[-1].endswith("versions, 0 differences")
    assert int(verified.stdout.split()[-4]) > 20
    assert set(world.database.keys()) == keys

    replayed = marketswarm("replay", str(file), "--in-process", "--name", "again", **elsewhere)
    assert replayed.returncode == 0, replayed.stderr
    same = marketswarm("diff", "live", "again", **elsewhere)
    assert same.returncode == 0, same.stdout + same.stderr
    (about,) = json.loads(marketswarm("replay", "list", "--json", **elsewhere).stdout)
    assert (about["name"], about["state"], about["symbol"]) == ("again", "done", "SPX")
    assert about["entries"] == about["entries_total"] != "0"
    taken = marketswarm("replay", str(file), "--in-process", "--name", "again", **elsewhere)
    assert "already" in refused(taken)

    other = marketswarm("replay", str(file), "--in-process", "--name", "other", "--own-settings",
                        **{**variables, "MASSIVE_RATE": "0.2"})
    assert other.returncode == 0, other.stderr
    unlike = marketswarm("diff", "again", "other", "--json", **variables)
    assert unlike.returncode == 1
    differing = {of["model"]: of["differing"] for of in json.loads(unlike.stdout)}
    assert differing["gex"] > 0
    assert differing["contracts"] == 0
    assert marketswarm("replay", "drop", "again", "other", **variables).returncode == 0
    assert set(world.database.keys()) == keys


@pytest.mark.parametrize(("words", "said"), [
    (("replay",), "Usage"),
    (("replay", "--symbol", "SPX"), "name a FILE, or a window with --from and --to"),
    (("replay", *WINDOW), "--symbol: which of SPX, NDX?"),
    (("replay", "--symbol", "IBM", *WINDOW), "--symbol: 'IBM' is not recorded here"),
    (("replay", "--symbol", "SPX", "--from", "2026-01-01T00:00:00", "--to", "2026-01-02T00:00:00Z"), "its zone"),
    (("replay", "--symbol", "SPX", "--from", "noon", "--to", "2026-01-02T00:00:00Z"), "'noon' is no ISO time"),
    (("replay", "--symbol", "SPX", "--from", WINDOW[3], "--to", WINDOW[1]), "the window is empty: it begins at"),
    (("replay", "--symbol", "SPX", *WINDOW[:3], "2999-01-01T00:00:00Z"), "the window is not over: it ends at"),
    (("replay", "--symbol", "SPX", *WINDOW), "the window is empty: nothing came in for SPX"),
    (("replay", "--symbol", "SPX", *WINDOW, "--speed", "fast"), "--speed: 'fast' is neither max nor a number"),
    (("replay", "--symbol", "SPX", *WINDOW, "--speed", "0"), "--speed: '0' is neither max nor a number"),
    (("replay", "--symbol", "SPX", *WINDOW, "--stages", "keeper"), "--stages: 'keeper' cannot be replayed"),
    (("replay", "--symbol", "SPX", *WINDOW, "--scale", "hydrate=x"), "--scale: 'hydrate=x' is not STAGE=NUMBER"),
    (("replay", "--symbol", "SPX", *WINDOW, "--name", "a:b"), "--name: 'a:b' is no name of a replay"),
    (("replay", "drop", "nobody"), "there is no replay 'nobody'"),
    (("record", "-o", "x.msw"), "name the window with --from and --to"),
    (("record", "--follow", "--every", "400", "-o", "x"), "--every 400: Redis keeps 300 s"),
    (("diff", "live", "nobody"), "there is no replay 'nobody'"),
    (("diff", "live", "live"), "nothing is published of SPX"),
])
def test_what_cannot_be_is_told_in_one_line_and_nothing_is_written(
    database: Database, redis_url: str, words: tuple[str, ...], said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, list(words), env={"REDIS_URL": redis_url, "MASSIVE_SYMBOLS": "SPX,NDX"})
    assert answer.exit_code == 2 or said == "Usage"
    assert said in answer.output
    if said != "Usage":
        assert len(answer.output.splitlines()) == 1
    assert database.dbsize() == 0


def test_a_file_that_is_no_session_is_refused(database: Database, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.msw"
    file.write_text("dear diary")
    answer = CliRunner().invoke(main, ["replay", str(file)], env={"REDIS_URL": redis_url})
    assert answer.exit_code == 2
    assert answer.output == f"marketswarm: {file} is no recorded session\n"
    assert database.dbsize() == 0


def test_a_window_that_was_trimmed_away_is_refused(database: Database, redis_url: str) -> None:
    database.set(Keys().sequence("SPX"), 5)  # there were commits
    answer = CliRunner().invoke(main, ["replay", "--symbol", "SPX", *WINDOW], env={"REDIS_URL": redis_url})
    assert answer.exit_code == 2
    assert "was trimmed away for SPX (MASSIVE_RETENTION_S)" in answer.output
    assert database.dbsize() == 1
