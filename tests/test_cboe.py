import gzip
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pipeline.cboe import CboeFileError, read_chain

NEW_YORK = ZoneInfo("America/New_York")
ROW_HEADER = (
    "session_date,ticker,expiry,right,strike,option,bid,bid_size,ask,ask_size,last_trade_price,volume,open_interest,"
    "iv,delta,gamma,theta,vega,last_trade_time"
)
SIDE_COLUMNS = "Last Sale,Net,Bid,Ask,Volume,IV,Delta,Gamma,Open Interest"
SIDE_HEADER = f"Expiration Date,Calls,{SIDE_COLUMNS},Strike,Puts,{SIDE_COLUMNS}"


def row(option: str, bid: str = "1.0", ask: str = "1.2", at: str = "2026-01-09T15:00:00") -> str:
    return f"2026-01-09,_SPX,,,,{option},{bid},3.0,{ask},4.0,1.1,17.0,250.0,0.15,0.5,0.01,-0.2,0.3,{at}"


def rows_file(tmp_path, *lines: str, compress: bool = False):
    path = tmp_path / "chain.csv"
    content = "\n".join([ROW_HEADER, *lines]).encode()
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def sides_file(
    tmp_path, *lines: str, date: str = '"Date: January 9, 2026 at 4:05 PM EST",Bid: 0', spot: str = "5000.5"
):
    path = tmp_path / "quotes.csv"
    path.write_text("\n".join(["", f"S&P 500,Last: {spot},Change: 1", date, SIDE_HEADER, *lines]))
    return path


def sides(day: str, strike: int, call: str = "1.5,0,10,11,5,0.2,0.6,0.01,100", put: str = "2,0,8,9,6,0.21,-0.4,0.01,0"):
    return f"Fri,SPXW{day}C{strike * 1000:08d},{call},{strike}.00,SPXW{day}P{strike * 1000:08d},{put}"


@pytest.mark.parametrize("compress", [False, True])
def test_one_row_a_contract(tmp_path, compress):
    path = rows_file(
        tmp_path, row("SPXW260116C05000000"), row("SPX260116P05000000", at="2026-01-09T16:14:59"), compress=compress
    )
    chain = read_chain(path, spot=5000.0)
    assert chain.symbol == "SPX"
    assert chain.quote_time == datetime(2026, 1, 9, 16, 14, 59, tzinfo=NEW_YORK)
    assert chain.ticker.tolist() == ["O:SPXW260116C05000000", "O:SPX260116P05000000"]
    assert chain.root.tolist() == ["SPXW", "SPX"]
    assert chain.side.tolist() == ["call", "put"]
    assert chain.strike.tolist() == [5000.0, 5000.0]
    assert chain.expiration[0] == np.datetime64("2026-01-16")
    first = [float(getattr(chain, name)[0]) for name in ("bid", "ask", "bid_size", "ask_size", "last", "volume")]
    assert first == [1.0, 1.2, 3.0, 4.0, 1.1, 17.0]
    greeks = [float(getattr(chain, name)[0]) for name in ("iv", "delta", "gamma", "theta", "vega", "open_interest")]
    assert greeks == [0.15, 0.5, 0.01, -0.2, 0.3, 250.0]
    assert (chain.spot, chain.bad_rows, len(chain)) == (5000.0, 0, 2)


def test_calls_and_puts_side_by_side(tmp_path):
    chain = read_chain(sides_file(tmp_path, sides("260116", 5000), sides("260116", 5010)))
    assert (chain.symbol, chain.spot, len(chain)) == ("SPX", 5000.5, 4)
    assert chain.quote_time == datetime(2026, 1, 9, 16, 5, tzinfo=NEW_YORK)
    assert chain.side.tolist() == ["call", "put", "call", "put"]
    assert chain.bid.tolist() == [10, 8, 10, 8]
    assert chain.open_interest.tolist() == [100, 0, 100, 0]
    assert np.isnan(chain.theta).all()
    assert np.isnan(chain.bid_size).all()


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ('"Date: 23 de marzo de 2022, 10:11 GMT-4"', datetime(2022, 3, 23, 10, 11, tzinfo=NEW_YORK)),
        ('"Date: 5 de diciembre de 2022, 15:30 GMT+1"', datetime(2022, 12, 5, 9, 30, tzinfo=NEW_YORK)),
        ('"Date: December 12, 2022 at 12:31 AM EST"', datetime(2022, 12, 12, 0, 31, tzinfo=NEW_YORK)),
        ('"Date: July 1, 2022 at 12:05 PM EDT"', datetime(2022, 7, 1, 12, 5, tzinfo=NEW_YORK)),
        ('"Date: July 1, 2022 at 9:05 AM"', datetime(2022, 7, 1, 9, 5, tzinfo=NEW_YORK)),
    ],
)
def test_the_date_is_read_in_english_and_in_spanish(tmp_path, date, expected):
    assert read_chain(sides_file(tmp_path, sides("260116", 5000), date=date)).quote_time == expected


def test_bad_rows_are_counted_and_left_out(tmp_path):
    path = rows_file(
        tmp_path,
        row("SPXW260116C05000000"),
        row("SPXW260116C05000000"),
        row("SPXW260116C005000000"),
        row("SPXW260230C05000000"),
        row("SPXW260116P05000000", bid="n/a"),
        row("SPXW260116P05010000", bid="-1"),
        row("SPXW260116P05020000", ask=""),
        row("SPXW260116P05030000", ask="inf"),
        "too,short",
    )
    chain = read_chain(path, spot=5000)
    assert (len(chain), chain.bad_rows) == (1, 8)


def test_one_bad_side_does_not_cost_the_other(tmp_path):
    chain = read_chain(sides_file(tmp_path, sides("260116", 5000, put="2,0,x,9,6,0.21,-0.4,0.01,0"), "half,a,line"))
    assert (chain.side.tolist(), chain.bad_rows) == (["call"], 3)


def test_without_a_spot_parity_tells_it(tmp_path):
    lines = []
    for strike, call, put in ((4990, 15.0, 4.0), (5000, 9.0, 8.0), (5010, 5.0, 14.0)):
        lines.append(row(f"SPXW260116C{strike * 1000:08d}", f"{call - 0.1}", f"{call + 0.1}"))
        lines.append(row(f"SPXW260116P{strike * 1000:08d}", f"{put - 0.1}", f"{put + 0.1}"))
        # The morning root at the same strikes must not be mixed in.
        lines.append(row(f"SPX260116P{strike * 1000:08d}", "500", "501"))
    assert read_chain(rows_file(tmp_path, *lines)).spot == pytest.approx(5001.0)


def test_a_file_that_is_no_chain_is_named(tmp_path):
    contents = {
        "other.csv": b"a,b,c\n1,2,3\n",
        "empty.csv": b"",
        "broken.gz": b"\x1f\x8b" + b"nonsense",
        "picture.png": bytes(range(128, 256)),
        "header_only.csv": ROW_HEADER.encode(),
        "sides_only.csv": SIDE_HEADER.encode(),
        "cut.gz": gzip.compress(ROW_HEADER.encode() * 100)[:-12],
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CboeFileError, match=name):
            read_chain(path)


def test_a_chain_without_time_or_spot_says_which(tmp_path):
    with pytest.raises(CboeFileError, match="last_trade_time"):
        read_chain(rows_file(tmp_path, row("SPXW260116C05000000", at="")), spot=1)
    with pytest.raises(CboeFileError, match="no spot"):
        read_chain(rows_file(tmp_path, row("SPXW260116C05000000")))
    with pytest.raises(CboeFileError, match="no date"):
        read_chain(sides_file(tmp_path, sides("260116", 5000), date="Date: unknown"))
    with pytest.raises(CboeFileError, match="no such date"):
        read_chain(sides_file(tmp_path, sides("260116", 5000), date='"Date: February 30, 2026 at 4:05 PM EST"'))


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_chain(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "symbol", "contracts", "roots", "spot", "time"),
    [
        ("cboe_spx_2026-08-20_close", "SPX", 30_282, {"SPX", "SPXW"}, 7645.45, datetime(2026, 8, 20, 16, 14, 59)),
        ("cboe_spy_2026-08-20_close", "SPY", 14_100, {"SPY"}, 762.645, datetime(2026, 8, 20, 16, 14, 59)),
        ("cboe_spx_2022-03-23_1011_intraday", "SPX", 19_002, {"SPX", "SPXW"}, 4479.0898, datetime(2022, 3, 23, 10, 11)),
        ("cboe_ndx_2022-12-12_2031", "NDX", 19_118, {"NDX", "NDXP"}, 11706.4395, datetime(2022, 12, 12, 20, 31)),
    ],
)
def test_the_recorded_chains_are_read_whole(shared_data, name, symbol, contracts, roots, spot, time):
    chain = read_chain(shared_data / "data" / f"{name}.csv.gz")
    assert (chain.symbol, len(chain), chain.bad_rows) == (symbol, contracts, 0)
    assert set(chain.root.tolist()) == roots
    assert chain.spot == spot
    assert chain.quote_time == time.replace(tzinfo=NEW_YORK)
    assert (chain.bid[chain.ask > 0] <= chain.ask[chain.ask > 0]).all()
