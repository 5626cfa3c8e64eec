"""session.msw: reads back to the same window, and says what is wrong with any other file."""

from pathlib import Path

import pytest

from pipeline.replay.session_file import read_session, write_session
from pipeline.replay.window import Commit, Row, Window, WindowError

COMMIT = Commit("5-0", "SPX:1:abcdef", 1, "hydrate", "1-0..2-0", "1", "")


def window() -> Window:
    return Window(
        "SPX", 1, 9, "start", None, {"scope": "full", "scope_days": 45, "scope_strikes": 0.12, "rate": 0.037,
                                     "widths": [20.0, 25.0]},
        chains=[Row("3-0", {b"symbol": b"SPX", b"ts": b"3"})], rows={"3-0": {"2026-08-21": b"[]"}},
        ws=[Row(f"{n}-0", {b"payload": b'[{"ev":"Q"}]' * n}) for n in range(1, 1200)], commits=[COMMIT],
        versions=[Row("6-0", {b"model": b"heatmap", b"payload": b"\x00\xff"})],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "session.msw"
    write_session(window(), path)
    return path


def test_a_session_reads_back_to_the_same_window(path: Path) -> None:
    assert read_session(path) == window()
    assert path.stat().st_size < 100_000


def test_a_file_that_is_there_is_not_written_over(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(WindowError, match="is there already"):
        write_session(window(), path)
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("place", range(0, 100, 3))
def test_every_bit_counts(path: Path, place: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place * len(whole) // 100] ^= 0x10
    path.write_bytes(whole)
    with pytest.raises(WindowError, match=str(path)):
        read_session(path)


@pytest.mark.parametrize("part", [0, 3, 8, 20, 1000, -1, -60])
def test_a_file_that_was_cut_is_refused(path: Path, part: int) -> None:
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(WindowError, match=r"no recorded session|cut off|of format"):
        read_session(path)


def test_blocks_that_were_left_out_or_put_behind_are_noticed(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b"more")
    with pytest.raises(WindowError, match="checksum"):
        read_session(path)
    length = int.from_bytes(whole[8:12], "big") + 8
    path.write_bytes(whole[:8] + whole[8 + length :])
    with pytest.raises(WindowError, match=r"checksum|begins with"):
        read_session(path)


def test_another_format_is_named(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:7] + b"\x01" + whole[8:])
    with pytest.raises(WindowError, match="of format 1; this version reads format 2"):
        read_session(path)
