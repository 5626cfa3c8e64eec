"""Chains from files of every kind, and what is said of files that are none."""

import gzip
import math
from pathlib import Path

import orjson
import pytest

from pipeline.chain_file import ChainFileError, read_chain_file

QUOTED_MS = 1_787_238_000_123


def row(ticker="O:SPXW260821C05000000", **changes):
    return {
        "details": {"ticker": ticker, "shares_per_contract": 100},
        "last_quote": {"bid": 1.5, "ask": 1.7, "last_updated": QUOTED_MS * 1_000_000, "timeframe": "REAL-TIME"},
        "day": {"volume": 12}, "open_interest": 34, "implied_volatility": 0.15, "greeks": {"gamma": 0.002},
        "underlying_asset": {"ticker": "I:SPX", "value": 5001.5, "last_updated": (QUOTED_MS - 5) * 1_000_000},
        **changes,
    }  # fmt: skip


def written(tmp_path: Path, content, compress=False) -> Path:
    path = tmp_path / "chain"
    encoded = content if isinstance(content, bytes) else orjson.dumps(content)
    path.write_bytes(gzip.compress(encoded) if compress else encoded)
    return path


@pytest.mark.parametrize("envelope", [False, True], ids=["array", "envelope"])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_the_providers_rows(tmp_path, envelope, compress):
    rows = [row(), row("O:SPX260821P04900000", open_interest=None, last_quote={}, day={}, greeks={})]
    chain = read_chain_file(written(tmp_path, {"results": rows, "status": "OK"} if envelope else rows, compress))
    assert (chain.symbol, chain.spot, chain.as_of_ms, chain.bad_rows, len(chain)) == ("SPX", 5001.5, QUOTED_MS, 0, 2)
    assert chain.root.tolist() == ["SPXW", "SPX"]
    assert chain.is_put.tolist() == [False, True]
    assert chain.strike.tolist() == [5000.0, 4900.0]
    assert [chain.bid[0], chain.ask[0], chain.open_interest[0], chain.volume[0], chain.iv[0], chain.gamma[0]] == [
        1.5, 1.7, 34, 12, 0.15, 0.002,
    ]  # fmt: skip
    assert all(math.isnan(column[1]) for column in (chain.bid, chain.ask, chain.open_interest, chain.volume))


def test_bad_and_foreign_rows_are_counted_and_left_out(tmp_path):
    rows = [row(), row("O:SPXW260821C05005000"), 7, None, {}, row("O:NDX260821C05000000"), row("nonsense"), row()]
    chain = read_chain_file(written(tmp_path, rows))
    assert (len(chain), chain.bad_rows) == (2, 6)


def test_spot_and_time_can_be_given(tmp_path):
    chain = read_chain_file(written(tmp_path, [row(underlying_asset={})]), 5100.0, 1_787_000_000_000)
    assert (chain.spot, chain.as_of_ms) == (5100.0, 1_787_000_000_000)


def test_without_quotes_the_spot_tells_the_time(tmp_path):
    assert read_chain_file(written(tmp_path, [row(last_quote={})])).as_of_ms == QUOTED_MS - 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a Cboe option chain"),
        (b"a,b,c\n1,2,3\n", "not a Cboe option chain"),
        (b"[1, 2", "not JSON"),
        (b"[]", "no chain row with a ticker"),
        (b'{"error": "Unknown API Key"}', "neither an array of chain rows nor an envelope"),
        (b'{"results": 5}', "neither an array of chain rows nor an envelope"),
        (b"[{}, 3]", r"no chain row with a ticker that can be read \(of 2 rows\)"),
        (orjson.dumps([row(underlying_asset={})]), "give --spot"),
        (orjson.dumps([row(underlying_asset={"value": 5.0}, last_quote={})]), "give --spot"),
        (b"\x1f\x8b\x08broken", "broken gzip"),
        (bytes(range(256)), "not a Cboe option chain"),
    ],
)
def test_a_file_that_is_no_chain_says_so(tmp_path, content, said):
    path = written(tmp_path, content)
    with pytest.raises(ChainFileError, match=said) as refused:
        read_chain_file(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_time_is_asked_for_where_no_row_has_one(tmp_path):
    with pytest.raises(ChainFileError, match="give --as-of"):
        read_chain_file(written(tmp_path, [row(last_quote={}, underlying_asset={})]), spot=5000.0)
