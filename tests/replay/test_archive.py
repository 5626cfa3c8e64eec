"""Continuous archiving: file after file without a gap, each of which stands alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from walrus import Database

from consumers.keeper import Keeper
from pipeline.logs import get_log
from pipeline.replay.archive import Archive
from pipeline.replay.session_file import read_session
from pipeline.replay.verify import Verification
from pipeline.replay.window import WindowError
from pipeline.settings import Settings
from tests.replay.sessions import Session, session_settings
from tests.world import STAGES, World

LOG = get_log()


def archive(world: World, folder: Path, **changes: Any) -> Archive:
    told = {"every_s": 60.0, "keep_s": 3600.0, **changes}
    return Archive(world.database, world.keys, "SPX", world.settings, folder, **told)


def test_files_follow_each_other_without_a_gap_and_the_old_ones_go(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.replay.archive._BEHIND_MS", 0)
    world = World(database, session_settings(make_settings, redis_url))
    folder = tmp_path / "archive"
    old, other = folder / "SPX-20200101T000000.000Z--20200101T000500.000Z.msw", folder / "notes.txt"
    first = archive(world, folder)
    for path in (old, other):
        path.write_text("")
    engines = [world.engine(stage, batch_max=8) for stage in STAGES]
    session = Session(world, 4, 400, batch=20)
    for _ in zip(range(8), session.moves(), strict=False):
        world.settle(engines)
    Keeper(world.settings, database).audit()
    first.turn(LOG)
    assert [path for path, _ in first.files()] == [old]  # it is not due
    first.turn(LOG, last=True)
    assert not old.exists()
    assert other.exists()
    assert [read_session(path).versions != [] for path, _ in first.files()] == [True]
    second = archive(world, folder)  # after a restart
    for _ in range(6):
        session.frame()
        session.spot()
        world.settle(engines)
    second.turn(LOG, last=True)
    files = [path for path, _ in second.files()]
    assert len(files) == 2
    windows = [read_session(path) for path in files]
    assert windows[1].from_ms == windows[0].to_ms + 1
    assert [window.base for window in windows] == ["start", "frame"]
    recorded = {row.id for window in windows for row in window.ws}
    assert recorded == {row_id.decode() for row_id, _ in database.xrange(world.keys.stream("ws", "SPX"))}
    for window in windows:
        report = Verification(window, window.settings_of(world.settings, f"of-{window.base}"), database).run()
        assert report.total_differences == 0
        assert report.versions > 5


def test_a_file_longer_than_redis_remembers_is_refused(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, tmp_path: Path
) -> None:
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",)))
    with pytest.raises(WindowError, match="Redis keeps 300 s"):
        archive(world, tmp_path, every_s=290.0)
    archive(world, tmp_path).turn(LOG, last=True)
    assert list(tmp_path.iterdir()) == []  # nothing came in
