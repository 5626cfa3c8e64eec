"""A chain from a file of any kind: Cboe's two layouts, or the provider's rows as JSON. No Redis, no network."""

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.cboe import CboeFileError, read_chain
from pipeline.chain_rows import CHAIN_FIELDS, ChainContract, read_rows
from pipeline.contract import TickerError, parse_ticker
from pipeline.provider.market import Value, ms_of_ns, price_of
from pipeline.registers import LAST_MS, Register

_GZIP_MAGIC = b"\x1f\x8b"


class ChainFileError(ValueError):
    """A file that holds no usable chain; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True, eq=False)
class ChainFile:
    """One chain as columns, an entry a contract. Prices in dollars, NaN where the file says nothing.

    ``as_of_ms`` is the file's own event time (ms UTC), ``bad_rows`` the rows that could not be used.
    """

    symbol: str
    as_of_ms: int
    spot: float
    root: NDArray[np.str_]
    expiration: NDArray[np.datetime64]
    is_put: NDArray[np.bool_]
    strike: NDArray[np.float64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    iv: NDArray[np.float64]
    gamma: NDArray[np.float64]
    open_interest: NDArray[np.float64]
    volume: NDArray[np.float64]
    bad_rows: int

    def __len__(self) -> int:
        return len(self.strike)


def read_chain_file(path: Path, spot: float | None = None, as_of_ms: int | None = None) -> ChainFile:
    """Read a chain, gzip or plain; ``spot`` and ``as_of_ms`` override what the file says.

    JSON is an array of the provider's chain rows, or an envelope with them under ``results``. Raises ChainFileError
    when the file is no chain or lacks what is not given, OSError when it cannot be opened.
    """
    content = path.read_bytes()
    try:
        text = gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise ChainFileError(f"{path}: broken gzip ({error})") from None
    if text.lstrip()[:1] in {b"[", b"{"}:
        return _provider(path, text, spot, as_of_ms)
    try:
        chain = read_chain(path, spot)
    except CboeFileError as error:
        raise ChainFileError(str(error)) from None
    return ChainFile(
        symbol=chain.symbol,
        as_of_ms=round(chain.quote_time.timestamp() * 1000) if as_of_ms is None else as_of_ms,
        spot=chain.spot,
        root=chain.root,
        expiration=chain.expiration,
        is_put=chain.side == "put",
        strike=chain.strike,
        bid=chain.bid,
        ask=chain.ask,
        iv=chain.iv,
        gamma=chain.gamma,
        open_interest=chain.open_interest,
        volume=chain.volume,
        bad_rows=chain.bad_rows,
    )


def _provider(path: Path, text: bytes, spot: float | None, as_of_ms: int | None) -> ChainFile:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ChainFileError(f"{path}: not JSON ({error})") from None
    rows = parsed.get("results") if isinstance(parsed, dict) else parsed
    if not isinstance(rows, list):
        raise ChainFileError(f"{path}: JSON, but neither an array of chain rows nor an envelope with results")
    symbol = _symbol(rows)
    if symbol is None:
        raise ChainFileError(f"{path}: no chain row with a ticker that can be read (of {len(rows)} rows)")
    # A live chain's time bounds those of its rows; a file's rows are as old as they say, whatever --as-of is given.
    read = read_rows(rows, symbol, LAST_MS - 1)
    contracts = list(read.contracts.values())
    if not contracts:
        raise ChainFileError(f"{path}: no readable contract of {symbol} ({len(rows)} rows)")
    said = _spot(rows)
    if spot is None and said is None:
        raise ChainFileError(f"{path}: no row says where {symbol} stands; give --spot")
    if as_of_ms is None:
        as_of_ms = _newest_quote(rows)
        if as_of_ms is None and said is not None:
            as_of_ms = said.ts
        if as_of_ms is None:
            raise ChainFileError(f"{path}: no row says when it was taken; give --as-of")
    return ChainFile(
        symbol=symbol,
        as_of_ms=as_of_ms,
        spot=spot if spot is not None else said.price,  # type: ignore[union-attr]  # one of them is there
        root=np.array([contract.ticker.root for contract in contracts]),
        expiration=np.array([contract.ticker.expiration for contract in contracts], dtype="datetime64[D]"),
        is_put=np.array([contract.ticker.side == "put" for contract in contracts]),
        strike=np.array([contract.ticker.strike for contract in contracts]),
        bid=_numbers([_part(contract.quote, 2) for contract in contracts]),
        ask=_numbers([_part(contract.quote, 3) for contract in contracts]),
        iv=_chain_numbers(contracts, "iv"),
        gamma=_chain_numbers(contracts, "gamma"),
        open_interest=_chain_numbers(contracts, "oi"),
        volume=_numbers([_part(contract.volume, 1) for contract in contracts]),
        bad_rows=len(rows) - len(contracts),
    )


def _symbol(rows: Sequence[Any]) -> str | None:
    """The underlying that most rows are of."""
    seen: Counter[str] = Counter()
    for row in rows:
        details = row.get("details") if isinstance(row, dict) else None
        ticker = details.get("ticker") if isinstance(details, dict) else None
        try:
            seen[parse_ticker(ticker if isinstance(ticker, str) else "").underlying] += 1
        except TickerError:
            continue
    return seen.most_common(1)[0][0] if seen else None


def _spot(rows: Sequence[Any]) -> Value | None:
    """The newest value of the underlying: indices carry ``value``, stocks ``price``."""
    newest = None
    for row in rows:
        asset = row.get("underlying_asset") if isinstance(row, dict) else None
        if not isinstance(asset, dict):
            continue
        value = price_of(asset.get("value"))
        value = price_of(asset.get("price")) if value is None else value
        ts = ms_of_ns(asset.get("last_updated"))
        if value is not None and ts is not None and (newest is None or ts > newest.ts):
            newest = Value(str(asset.get("ticker", "")), value, ts)
    return newest


def _newest_quote(rows: Sequence[Any]) -> int | None:
    quotes = (row.get("last_quote") for row in rows if isinstance(row, dict))
    times = (ms_of_ns(quote.get("last_updated")) for quote in quotes if isinstance(quote, dict))
    return max((ts for ts in times if ts is not None), default=None)


def _part(register: Register | None, at: int) -> str | None:
    return None if register is None else register[at]


def _chain_numbers(contracts: Sequence[ChainContract], name: str) -> NDArray[np.float64]:
    at = CHAIN_FIELDS.index(name)
    return _numbers([contract.chain[at] for contract in contracts])


def _numbers(texts: Sequence[str | None]) -> NDArray[np.float64]:
    return np.array([math.nan if text is None else float(text) for text in texts])
