"""One server-sent event: encoded once, compressed once, shared by every client that wants it."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from pipeline.gateway.view import WHOLE, View

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""A compressed stream begins with this. Its end mark never comes: a stream of events is cut, not ended."""
_LEVEL = 4

Position = tuple[int, int, int]
"""(ms, sequence, rank of the stream): all streams of a server in one order, for their ids are its clock's."""
START: Position = (0, 0, 0)


def position_text(position: Position) -> str:
    """As ``id:`` has it. A client hands it back as it came."""
    ms, sequence, rank = position
    return f"{ms}-{sequence}.{rank}" if rank else f"{ms}-{sequence}"


def parse_position(text: str) -> Position:
    """Raises ValueError for what was never an ``id:``."""
    entry, _, rank = text.partition(".")
    ms, dash, sequence = entry.partition("-")
    parts = (ms, sequence, rank or "0")
    if not dash or not all(part.isascii() and part.isdigit() and len(part) <= 20 for part in parts):
        raise ValueError(f"{text[:40]!r} is no id of an event of this stream")
    return int(ms), int(sequence), int(rank or 0)


def compressed(text: bytes) -> bytes:
    """A piece of a deflate stream that refers to nothing before it and is whole by itself: any client's next one."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)


def encoded(name: str, text: bytes, position: Position | None = None) -> bytes:
    """``text`` is JSON without line breaks."""
    if b"\n" in text or b"\r" in text:
        text = text.replace(b"\r", b" ").replace(b"\n", b" ")  # JSON has them between its tokens alone
    told = b"" if position is None else b"id: " + position_text(position).encode() + b"\n"
    return b"event: " + name.encode() + b"\n" + told + b"data: " + text + b"\n\n"


@dataclass(slots=True)
class Event:
    """``head`` are the members before the document; ``document`` is JSON, or empty where the head is all there is."""

    name: str
    symbol: str
    model: str
    position: Position | None
    head: bytes
    document: bytes
    narrowable: bool = False
    received: int | None = None
    """When the oldest tick behind it reached us, ms."""
    _frames: dict[tuple[View, bool], bytes] = field(default_factory=dict)

    def unplaced(self) -> "Event":
        """The same without its position."""
        return replace(self, position=None, _frames={})

    def frame(self, view: View, gzip: bool, keep: bool = True) -> bytes:
        """The bytes on the wire, of the part of the document that a view shows. ``keep`` them for the next to ask."""
        if not self.narrowable:
            view, keep = WHOLE, True
        found = self._frames.get((view, gzip))
        if found is None:
            found = compressed(self.frame(view, False, keep)) if gzip else self._plain(view)
            if keep:
                self._frames[view, gzip] = found
        return found

    def _plain(self, view: View) -> bytes:
        if not self.document:
            return encoded(self.name, self.head, self.position)
        document = self.document
        if view != WHOLE:
            document = orjson.dumps(view.narrow(self.model, orjson.loads(document)))
        return encoded(self.name, self.head[:-1] + b',"document":' + document + b"}", self.position)

    @property
    def size(self) -> int:
        """Bytes it keeps."""
        return len(self.head) + len(self.document) + sum(map(len, self._frames.values()))


def fact(name: str, symbol: str, members: Mapping[str, Any], position: Position | None = None) -> Event:
    """An event that is its head alone."""
    return Event(name, symbol, name, position, orjson.dumps(members), b"")


def publication(
    symbol: str, model: str, kind: str, epoch: str, base: int, version: int, document: bytes, *, ts: int | None,
    received: int | None, published: int | None, position: Position | None,
) -> Event:
    head = {
        "symbol": symbol, "model": model, "kind": kind, "epoch": epoch, "base": base, "version": version, "ts": ts,
        "received": received, "published": published,
    }
    name = model if kind == "full" else f"{model}_{kind}"
    return Event(name, symbol, model, position, orjson.dumps(head), document, View.applies_to(model), received)
