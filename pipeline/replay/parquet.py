"""A session as Parquet, for analysts: contracts, quotes, trades, spots and models, a file each (`parquet` extra).

Times are UTC with milliseconds: ``received`` is when it reached us, ``ts`` the provider's time. Prices are dollars.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.chain_rows import CHAIN_FIELDS, read_rows
from pipeline.contract import Ticker, TickerError, parse_ticker
from pipeline.frames import FrameError, FrameReader, Quote, Trade
from pipeline.replay.window import Window, WindowError

_MS = pa.timestamp("ms", tz="UTC")
_TICKER = [
    ("ticker", pa.string()), ("root", pa.string()), ("expiration", pa.date32()), ("side", pa.string()),
    ("strike", pa.float64()),
]
_QUOTE = [("bid", pa.float64()), ("ask", pa.float64()), ("bid_size", pa.float64()), ("ask_size", pa.float64())]
SCHEMAS = {
    "contracts": pa.schema([("ts", _MS), *_TICKER, *((name, pa.float64()) for name in CHAIN_FIELDS), *_QUOTE,
                            ("volume", pa.float64())]),
    "quotes": pa.schema([("received", _MS), ("ts", _MS), ("sequence", pa.int64()), *_TICKER, *_QUOTE]),
    "trades": pa.schema([("received", _MS), ("ts", _MS), ("sequence", pa.int64()), *_TICKER, ("price", pa.float64()),
                         ("size", pa.float64())]),
    "spots": pa.schema([("received", _MS), ("ts", _MS), ("price", pa.float64())]),
    "models": pa.schema([("published", _MS), ("model", pa.string()), ("kind", pa.string()), ("version", pa.int64()),
                         ("base", pa.int64()), ("epoch", pa.string()), ("payload", pa.string())]),
}
_ROWS = 50_000
_Row = tuple[Any, ...]


def write_parquet(window: Window, folder: Path) -> dict[str, int]:
    """Write a file a table into ``folder``; how many rows each has. Raises WindowError where one is there already."""
    paths = {table: folder / f"{table}.parquet" for table in SCHEMAS}
    for path in paths.values():
        if path.exists():
            raise WindowError(f"{path} is there already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {
            "contracts": _write(paths["contracts"], SCHEMAS["contracts"], _contracts(window)),
            "quotes": _write(paths["quotes"], SCHEMAS["quotes"], _events(window, Quote)),
            "trades": _write(paths["trades"], SCHEMAS["trades"], _events(window, Trade)),
            "spots": _write(paths["spots"], SCHEMAS["spots"], (
                (row.ms, int(row.text("ts")), float(row.text("price"))) for row in window.spots
            )),
            "models": _write(paths["models"], SCHEMAS["models"], _models(window)),
        }
    except OSError as error:
        raise WindowError(f"{folder} cannot be written: {error.strerror}") from None


def _write(path: Path, schema: Any, rows: Iterator[_Row]) -> int:
    number = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        part: list[_Row] = []
        for row in rows:
            part.append(row)
            if len(part) == _ROWS:
                number += _put(writer, schema, part)
                part = []
        return number + _put(writer, schema, part)


def _put(writer: Any, schema: Any, rows: list[_Row]) -> int:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return len(rows)


def _said(ticker: Ticker) -> _Row:
    return ticker.ticker, ticker.root, ticker.expiration, ticker.side, ticker.strike


def _contracts(window: Window) -> Iterator[_Row]:
    for chain in window.chains:
        ts = int(chain.text("ts"))
        rows = [row for of_day in window.rows[chain.id].values() for row in orjson.loads(of_day)]
        for contract in read_rows(rows, window.symbol, ts).contracts.values():
            quote = contract.quote[2:] if contract.quote else [None] * 4
            volume = contract.volume[1] if contract.volume else None
            figures = [None if text is None else float(text) for text in (*contract.chain, *quote, volume)]
            yield ts, *_said(contract.ticker), *figures


def _events(window: Window, kind: type[Quote] | type[Trade]) -> Iterator[_Row]:
    reader, known = FrameReader(), dict[str, Ticker | None]()
    for row in window.ws:
        try:
            events, _ = reader.read(row.fields.get(b"payload", b""))
        except FrameError:
            continue
        for event in events:
            if type(event) is not kind:
                continue
            if event.sym not in known:
                known[event.sym] = _ticker(event.sym, window.symbol)
            ticker = known[event.sym]
            if ticker is None:
                continue
            if isinstance(event, Quote):
                figures: _Row = (event.bp, event.ap, event.bs, event.ask_size)
            else:
                figures = (event.p, event.s)
            yield row.ms, event.t, event.q, *_said(ticker), *figures


def _ticker(text: str, symbol: str) -> Ticker | None:
    try:
        ticker = parse_ticker(text)
    except TickerError:
        return None
    return ticker if ticker.underlying == symbol else None


def _models(window: Window) -> Iterator[_Row]:
    for row in window.versions:
        payload = row.fields.get(b"payload")
        yield (
            row.ms, row.text("model"), row.text("kind"), int(row.text("version")), int(row.text("base")),
            row.text("epoch"), None if payload is None else payload.decode(),
        )
