"""session.msw: a window in a file, portable, compressed, checked.

``MSWSESS`` and a byte for the format's version; then blocks, each its length and the CRC-32 of what follows (two
big-endian uint32), and zlib of a msgpack list ``[kind, content]``:

| kind | content |
|---|---|
| ``about`` | what the window is, and how many rows of each kind follow |
| ``frame`` | the base frame as the keeper stored it |
| ``chain``, ``ws``, ``spot``, ``model`` | rows of that stream: ``[id, fields]`` |
| ``rows`` | the provider's rows of a chain entry: ``[id, {expiration: JSON}]`` |
| ``commit`` | the order of commits: ``[id, epoch, seq, kind, ids, ts, part]`` |
| ``end`` | SHA-256 of every byte before its block |

Nothing of a file is used before all of it has been read and found whole.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from pipeline.replay.window import Commit, Row, Window, WindowError

MAGIC, FORMAT = b"MSWSESS", 2
_HEAD = struct.Struct(">II")
_ROWS = 500
_BLOCK_BYTES = 1 << 30
"""No block of ours is as long: a longer one is damage, not data."""


def write_session(window: Window, path: Path) -> int:
    """Write a window; how many bytes it took. The file is there when it is whole. Raises WindowError."""
    if path.exists():
        raise WindowError(f"{path} is there already")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            _write(window, file)
            file.flush()
            os.fsync(file.fileno())
        size = draft.stat().st_size
        draft.replace(path)
    except OSError as error:
        raise WindowError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    return size


def _write(window: Window, file: BinaryIO) -> None:
    digest = hashlib.sha256()

    def put(part: bytes) -> None:
        file.write(part)
        digest.update(part)

    put(MAGIC + bytes([FORMAT]))
    for kind, content in _blocks(window):
        put(_packed(kind, content))
    file.write(_packed("end", digest.digest()))


def _packed(kind: str, content: Any) -> bytes:
    body = zlib.compress(msgpack.packb([kind, content]), 6)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _blocks(window: Window) -> Iterator[tuple[str, Any]]:
    streams = {"chain": window.chains, "ws": window.ws, "spot": window.spots, "model": window.versions}
    yield "about", {
        "symbol": window.symbol, "from_ms": window.from_ms, "to_ms": window.to_ms, "base": window.base,
        "settings": window.settings, "layout": window.layout,
        "counts": {**{kind: len(rows) for kind, rows in streams.items()}, "commit": len(window.commits)},
    }
    if window.frame is not None:
        yield "frame", window.frame
    for kind, rows in streams.items():
        for part in _parts(rows):
            yield kind, [[row.id, row.fields] for row in part]
    for chain, by_day in window.rows.items():
        yield "rows", [chain, by_day]
    for some in _parts(window.commits):
        yield "commit", [list(astuple(commit)) for commit in some]


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(rows), _ROWS):
        yield rows[first : first + _ROWS]


def read_session(path: Path) -> Window:
    """The window of a file. Raises WindowError: one line that says what is wrong with it."""
    try:
        with path.open("rb") as file:
            blocks = list(_read(path, file))
    except OSError as error:
        raise WindowError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _window(blocks)
    except (KeyError, TypeError, ValueError) as error:
        raise WindowError(f"{path} is not what it says it is: {type(error).__name__}: {error}") from None


def _read(path: Path, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    digest = hashlib.sha256()
    head = file.read(len(MAGIC) + 1)
    if head[: len(MAGIC)] != MAGIC:
        raise WindowError(f"{path} is no recorded session")
    if head[len(MAGIC) :] != bytes([FORMAT]):
        raise WindowError(f"{path} is of format {head[len(MAGIC)] if len(head) > len(MAGIC) else '?'}; "
                          f"this version reads format {FORMAT}")
    digest.update(head)
    while True:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise WindowError(f"{path} is cut off after {file.tell():,} bytes")
        length, crc = _HEAD.unpack(head)
        body = file.read(length) if length < _BLOCK_BYTES else b""
        if length < _BLOCK_BYTES and len(body) < length:
            raise WindowError(f"{path} is cut off after {file.tell():,} bytes")
        if zlib.crc32(body) != crc or length >= _BLOCK_BYTES:
            raise WindowError(f"{path} is damaged before byte {file.tell():,}")
        try:
            kind, content = msgpack.unpackb(zlib.decompress(body), strict_map_key=False)
        except (ValueError, zlib.error, msgpack.UnpackException):
            raise WindowError(f"{path} is damaged before byte {file.tell():,}") from None
        if kind == "end":
            if content != digest.digest() or file.read(1):
                raise WindowError(f"{path} is damaged: its checksum is that of another file")
            return
        digest.update(head + body)
        yield kind, content


def _window(blocks: list[tuple[str, Any]]) -> Window:
    kind, about = blocks[0]
    if kind != "about":
        raise ValueError(f"it begins with {kind!r}")
    counts = about.pop("counts")
    window = Window(**about, frame=None)
    streams = {"chain": window.chains, "ws": window.ws, "spot": window.spots, "model": window.versions}
    for kind, content in blocks[1:]:
        if kind == "frame":
            window.frame = content
            window.unpacked_frame()
        elif kind == "rows":
            window.rows[content[0]] = content[1]
        elif kind == "commit":
            window.commits += [Commit(*row) for row in content]
        else:
            streams[kind] += [Row(row_id, fields) for row_id, fields in content]
    found = {**{kind: len(rows) for kind, rows in streams.items()}, "commit": len(window.commits)}
    if found != counts:
        raise ValueError(f"it says that it has {counts} and has {found}")
    return window
