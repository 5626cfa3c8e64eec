"""Layout: where everything is in a published document.

A document is laid out once per epoch: constants (strikes, widths, names) are text that never moves, and what changes
lives in slots of fixed width. The stored JSON string can then be patched in place and is exactly current at every
version, at a cost of what changed and not of the size of the model.

    {<header slot>,<constants>{"<pane>":{<head slot>,<constants><cells>},...}}

A *cell* is one number; a *block* is one pane (or the one body of a document without panes): an optional head slot and
named arrays of cells, contiguous in the document. Cells of a block are numbered in the order of their bytes.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import orjson
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.models.quotes import Integers
from pipeline.models.slots import Text, decode, encode

HEADER_BYTES = 1024

# The document's own fields that every diff carries. ``schema`` is the document's; a diff has another.
HEADER_FIELDS = ("symbol", "epoch", "version", "ts", "as_of", "spot", "status", "coverage")

# Changed cells no further apart are written as one patch, with what stands between them: a command costs as much as a
# few hundred bytes. The tiles of a contract lie one row below the other, so that a patch goes on from row to row.
MERGE_BYTES = 256

_NO_VALUES, _TRUE = np.empty(0, dtype=np.int64), np.ones(1, dtype=np.bool_)

Header = Mapping[str, Any]
Head = Mapping[str, Any]
Patch = tuple[int, bytes]
Cells = Mapping[str, NDArray[Any]]
"""The numbers of blocks, by name: integers in the order of their cells."""


@dataclass(frozen=True, slots=True)
class Number:
    """How a layout writes its cells: characters, decimals, and the integer that stands for null."""

    width: int
    decimals: int
    missing: int

    def json(self, values: Integers) -> list[int | float | None]:
        """Cells' integers as the numbers the document shows."""
        # An integer over a power of ten is correctly rounded, hence the float a parser makes of the slot's text.
        numbers: Any = values / 10**self.decimals if self.decimals else values
        shown: list[int | float | None] = numbers.tolist()
        for index in np.flatnonzero(values == self.missing).tolist():
            shown[index] = None
        return shown


@dataclass(frozen=True, slots=True)
class ArraySlots:
    """A named array: its cells are ``first`` to ``first + size`` of its block, in C order of ``shape``."""

    name: str
    first: int
    shape: tuple[int, ...]
    keys: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """A pane's bytes. Positions of the head and of ``cells`` count from the block's ``offset`` in the document.

    Arrays whose names are alike up to the colon are a part of it. ``part`` numbers that of each cell, no two parts of a
    document alike. No patch goes beyond one, so that a document of one part can take it over.
    """

    name: str
    offset: int
    length: int
    head: tuple[int, int] | None
    arrays: tuple[ArraySlots, ...]
    cells: NDArray[np.intp]
    part: NDArray[np.intp]

    def span(self, part: str) -> tuple[int, int]:
        """The cells of a part of the block: the first, and one beyond the last."""
        of = [array for array in self.arrays if _part(array) == part]
        return of[0].first, of[-1].first + of[-1].size


def _part(array: ArraySlots) -> str:
    return array.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Diff:
    """What one publication changes.

    ``payload`` is the message for clients; ``patches`` are (offset, bytes) of the document, ascending, the header's
    first; ``cells`` counts changed numbers; ``changed`` says whether anything beyond the header did.
    """

    payload: dict[str, Any]
    patches: list[Patch]
    cells: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions and constants of one document in one epoch. Build one with the functions of ``documents``."""

    schema: str
    symbol: str
    epoch: str
    number: Number
    blocks: dict[str, Block]
    template: bytes = field(repr=False)
    # Lists of a head that may lose their tail when the head would overflow its slot.
    shortened: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Length of the document in bytes, the same at every version."""
        return len(self.template)

    def block(self, pane: str) -> tuple[int, int]:
        """(offset, length) of a pane's bytes in the document. Raises KeyError for a pane of another epoch."""
        block = self.blocks[pane]
        return block.offset, block.length

    def render(self, header: Header, heads: Mapping[str, Head], cells: Cells) -> bytes:
        """The whole document. Wants the head and the cells of every pane; ignores what it does not lay out.

        Raises KeyError naming what is absent, OverflowError for what does not fit, ValueError for a wrong size.
        """
        document = bytearray(self.template)
        patches = [self.header_patch(header)]
        for pane, block in self.blocks.items():
            if block.head is not None:
                start, size = block.head
                patches.append((block.offset + start, _members(self.fit_head(pane, heads[pane]), size, pane)))
        for offset, text in patches:
            document[offset : offset + len(text)] = text
        bytes_view = np.frombuffer(document, dtype=np.uint8)
        for block in self.blocks.values():
            region = bytes_view[block.offset : block.offset + block.length]
            self._write(region, block.cells, self._of(block, cells))
        return bytes(document)

    def read_cells(self, block_bytes: bytes, pane: str) -> Integers:
        """A pane's numbers from the bytes of its block, int64 in the order of its cells."""
        block = self.blocks[pane]
        if len(block_bytes) != block.length:
            raise ValueError(f"{pane}: {len(block_bytes)} bytes where its block has {block.length}")
        if block.cells.size == 0:
            return _NO_VALUES
        text = sliding_window_view(np.frombuffer(block_bytes, dtype=np.uint8), self.number.width)[block.cells]
        return decode(text, self.number.decimals, self.number.missing)

    def read_head(self, block_bytes: bytes, pane: str) -> dict[str, Any]:
        """A pane's head, as published, from the bytes of its block. Raises KeyError for a pane without a head."""
        head = self.blocks[pane].head
        if head is None:
            raise KeyError(f"{pane} has no head in {self.schema}")
        start, size = head
        parsed: dict[str, Any] = orjson.loads(b"{" + block_bytes[start : start + size] + b"}")
        return parsed

    def diff(
        self,
        old_cells: Cells,
        new_cells: Cells,
        *,
        header: Header,
        base: int,
        old_heads: Mapping[str, Head] | None = None,
        new_heads: Mapping[str, Head] | None = None,
    ) -> Diff:
        """What turns the document of version ``base`` into the one with ``header``.

        Compares the panes named in ``new_cells`` and in ``new_heads``; others are unchanged. Cells are compared as
        integers. Panes, arrays and indices come in the order of the document.
        """
        payload = self._diff_header(header, base)
        changes: dict[str, Any] = {}
        touched: list[tuple[Block, NDArray[np.intp], NDArray[Any]]] = []
        heads, head_patches = self._diff_heads(old_heads or {}, new_heads or {})
        for block in self.blocks.values():
            if block.name in new_cells:
                new = self._of(block, new_cells)
                at = np.flatnonzero(new != self._of(block, old_cells))
                if at.size:
                    changes[block.name] = self._changes(block, new, at)
                    touched.append((block, at, new))
        if changes:
            payload["panes"] = changes
        if heads:
            payload["heads"] = heads
        patches = [self.header_patch(header), *head_patches, *self._cell_patches(touched)]
        count = sum(at.size for _, at, _ in touched)
        return Diff(payload, sorted(patches), count, bool(changes or heads))

    def header_patch(self, header: Header) -> Patch:
        """The header slot. Raises ValueError for another symbol or epoch, OverflowError beyond HEADER_BYTES."""
        if (header["schema"], header["symbol"], header["epoch"]) != (self.schema, self.symbol, self.epoch):
            raise ValueError(f"a header of {header['epoch']!r} for the layout of {self.epoch!r} ({self.schema})")
        return 1, _members(header, HEADER_BYTES, "header")

    def fit_head(self, pane: str, head: Head) -> dict[str, Any]:
        """The head as the document shows it: lists lose their tail until it fits, what is counted stays counted."""
        slot = self.blocks[pane].head
        size = 0 if slot is None else slot[1]
        fitted = dict(head)
        for name in self.shortened:
            spare = size - (len(orjson.dumps(fitted)) - 2)
            entries = list(fitted.get(name, ()))
            while spare < 0 and entries:
                spare += len(orjson.dumps(entries.pop())) + (1 if entries else 0)
            if name in fitted:
                fitted[name] = entries
        return fitted

    def _diff_header(self, header: Header, base: int) -> dict[str, Any]:
        name, _, schema_version = self.schema.partition("/")
        payload: dict[str, Any] = {"schema": f"{name}-diff/{schema_version}"}
        payload.update((key, header[key]) for key in HEADER_FIELDS if key in header)
        payload["base"] = base
        return payload

    def _diff_heads(
        self, old_heads: Mapping[str, Head], new_heads: Mapping[str, Head]
    ) -> tuple[dict[str, Any], list[Patch]]:
        """What of heads differs, and patches of them that cover no more than the old text and the new."""
        changes: dict[str, Any] = {}
        patches: list[Patch] = []
        for pane, block in self.blocks.items():
            if block.head is None or pane not in new_heads or new_heads[pane] is old_heads[pane]:
                continue
            # Compared as text, since it is text that is stored: 1 and 1.0 are equal but not the same bytes.
            new = self.fit_head(pane, new_heads[pane])
            old_texts, new_texts = _texts(self.fit_head(pane, old_heads[pane])), _texts(new)
            if old_texts == new_texts:
                continue
            if [key for key, _ in old_texts] != [key for key, _ in new_texts]:
                raise ValueError(f"{pane}: the keys of a head never change within an epoch")
            changes[pane] = {
                key: new[key] for (key, text), (_, old) in zip(new_texts, old_texts, strict=True) if text != old
            }
            start, size = block.head
            covered = max(sum(len(key) + len(text) + len('"":,') for key, text in texts) - len(",")
                          for texts in (old_texts, new_texts))
            patches.append((block.offset + start, _members(new, size, pane)[:covered]))
        return changes, patches

    def _changes(self, block: Block, new: NDArray[Any], at: NDArray[np.intp]) -> dict[str, Any]:
        """What a diff says of a block: by array, where (counted in it) and what."""
        said: dict[str, Any] = {}
        shown = self.number.json(new[at].astype(np.int64))
        ends = np.searchsorted(at, [array.first + array.size for array in block.arrays]).tolist()
        start, places = 0, at.tolist()
        for array, end in zip(block.arrays, ends, strict=True):
            if start == end:
                continue
            indices = [place - array.first for place in places[start:end]]
            if array.keys is None:
                said[array.name] = {"i": indices, "v": shown[start:end]}
            else:
                said[array.name] = {"k": [array.keys[index] for index in indices], "v": shown[start:end]}
            start = end
        return said

    def _cell_patches(self, touched: Sequence[tuple[Block, NDArray[np.intp], NDArray[Any]]]) -> list[Patch]:
        """The changed cells ``at`` of blocks as patches, in one pass over all of them: a call of numpy for each block
        would cost more than what it does."""
        if not touched:
            return []
        width = self.number.width
        places = np.concatenate([block.offset + block.cells for block, _, _ in touched])
        part = np.concatenate([block.part for block, _, _ in touched])
        values = np.concatenate([new for _, _, new in touched])
        bases = accumulate([0, *(block.cells.size for block, _, _ in touched)])
        at = np.concatenate([base + at for base, (_, at, _) in zip(bases, touched, strict=False)])
        ends_run = (np.diff(places[at]) > width + MERGE_BYTES) | (np.diff(part[at]) != 0)
        first, last = at[np.concatenate((_TRUE, ends_run))], at[np.concatenate((ends_run, _TRUE))]
        counts = last - first + 1
        cells = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        starts, ends = places[first], places[last] + width
        lengths = ends - starts
        begins = np.cumsum(lengths) - lengths  # of each patch among the texts of all
        spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
        text = bytearray(b"".join([self.template[start:end] for start, end in spans]))
        positions = places[cells] + np.repeat(begins - starts, counts)
        self._write(np.frombuffer(text, dtype=np.uint8), positions, values[cells])
        whole = bytes(text)
        return [
            (start, whole[begin : begin + end - start])
            for begin, (start, end) in zip(begins.tolist(), spans, strict=True)
        ]

    def _of(self, block: Block, cells: Cells) -> NDArray[Any]:
        values = np.asarray(cells[block.name])
        if values.shape != block.cells.shape:
            raise ValueError(f"{block.name}: {values.shape} values for {block.cells.size} cells")
        return values

    def _write(self, region: Text, positions: NDArray[np.intp], values: Integers) -> None:
        if values.size:
            text = encode(values, self.number.width, self.number.decimals, self.number.missing)
            sliding_window_view(region, self.number.width, writeable=True)[positions] = text


class Excerpt:
    """A document that shows one part of another's blocks, and their heads, laid out alike: where the other's bytes are
    in it."""

    def __init__(self, whole: Layout, excerpt: Layout, part: str) -> None:
        self._starts: list[int] = []
        self._shifts: list[int | None] = []  # from a place in the whole to that in the excerpt; None: it is not in it
        for name, block in whole.blocks.items():
            other = excerpt.blocks[name]
            if block.head is not None and other.head is not None:
                start, size = block.head
                self._take(block.offset + start, size, other.offset + other.head[0])
            first, beyond = block.span(part)
            start = int(block.cells[first])
            size = int(block.cells[beyond - 1]) + whole.number.width - start
            self._take(block.offset + start, size, other.offset + int(other.cells[0]))

    def _take(self, start: int, size: int, to: int) -> None:
        self._starts += (start, start + size)
        self._shifts += (to - start, None)

    def taken(self, patches: Sequence[Patch]) -> list[tuple[int, int]]:
        """Of the whole's patches those that the excerpt shows: where in it, and the patch's number."""
        found = []
        for number, (offset, _) in enumerate(patches):
            at = bisect_right(self._starts, offset) - 1
            shift = self._shifts[at] if at >= 0 else None
            if shift is not None:
                found.append((offset + shift, number))
        return found


def _texts(head: Head) -> list[tuple[str, bytes]]:
    return [(key, orjson.dumps(value)) for key, value in head.items()]


def _members(fields: Mapping[str, Any], size: int, name: str) -> bytes:
    """A JSON object's members without its braces, padded with spaces to ``size``."""
    text = orjson.dumps(dict(fields))[1:-1]
    if not text or len(text) > size:
        raise OverflowError(f"{name}: {len(text)} bytes for a slot of {size}")
    return text.ljust(size)


class LayoutWriter:
    """Lays a document out from its beginning to its end."""

    def __init__(self, number: Number) -> None:
        self._number = number
        self._null = b"null".rjust(number.width)
        self._parts: list[bytes] = [b"{", b" " * HEADER_BYTES]
        self._position = 1 + HEADER_BYTES
        self._blocks: dict[str, Block] = {}
        self._block_name = ""
        self._block_offset = 0
        self._head: tuple[int, int] | None = None
        self._arrays: list[ArraySlots] = []
        self._cells: list[NDArray[np.intp]] = []
        self._count = 0
        self._numbered = 0  # parts of blocks

    def text(self, constant: bytes) -> None:
        self._parts.append(constant)
        self._position += len(constant)

    def begin_block(self, name: str) -> None:
        self._block_name, self._block_offset, self._head = name, self._position, None
        self._arrays, self._cells, self._count = [], [], 0

    def head(self, size: int) -> None:
        self._head = (self._position - self._block_offset, size)
        self.text(b" " * size)

    def rows(self, name: str, rows: int, columns: int | None) -> None:
        """``[n,n,...]`` when ``columns`` is None, else ``[[n,..],[n,..],...]``."""
        shape = (rows,) if columns is None else (rows, columns)
        inner = 1 if columns is None else columns
        row = b",".join([self._null] * inner)
        opening, closing = (b"", b"") if columns is None else (b"[", b"]")
        start = self._position - self._block_offset + 1 + len(opening)
        stride = len(opening) + len(row) + len(closing) + 1
        positions = start + stride * np.arange(rows)[:, None] + (self._number.width + 1) * np.arange(inner)
        self.text(b"[" + b",".join([opening + row + closing] * rows) + b"]")
        self._add(name, shape, positions.ravel(), None)

    def keyed(self, name: str, keys: Sequence[str]) -> None:
        """``{"key":n,...}``."""
        prefixes = [orjson.dumps(key) + b":" for key in keys]
        lengths = np.array([len(prefix) for prefix in prefixes], dtype=np.intp)
        # Before a cell: the brace, its own key, and for every earlier cell its key, its number and a comma.
        earlier = (self._number.width + 1) * np.arange(len(keys))
        positions = self._position - self._block_offset + 1 + np.cumsum(lengths) + earlier
        self.text(b"{" + b",".join([prefix + self._null for prefix in prefixes]) + b"}")
        self._add(name, (len(keys),), positions, tuple(keys))

    def end_block(self) -> None:
        cells = np.concatenate(self._cells) if self._cells else np.empty(0)
        begins_part = [True, *(_part(before) != _part(array) for before, array in pairwise(self._arrays))]
        part = self._numbered + np.repeat(np.cumsum(begins_part)[: len(self._arrays)], [of.size for of in self._arrays])
        self._numbered += sum(begins_part)
        self._blocks[self._block_name] = Block(
            self._block_name,
            self._block_offset,
            self._position - self._block_offset,
            self._head,
            tuple(self._arrays),
            cells.astype(np.intp),
            part.astype(np.intp),
        )

    def finish(self, schema: str, symbol: str, epoch: str, shortened: tuple[str, ...] = ()) -> Layout:
        return Layout(schema, symbol, epoch, self._number, self._blocks, b"".join(self._parts), shortened)

    def _add(
        self, name: str, shape: tuple[int, ...], positions: NDArray[np.intp], keys: tuple[str, ...] | None
    ) -> None:
        array = ArraySlots(name, self._count, shape, keys)
        self._arrays.append(array)
        self._cells.append(positions)
        self._count += array.size
