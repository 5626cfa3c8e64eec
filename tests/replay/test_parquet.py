"""A session as Parquet: every quote, contract and version, with types that an analyst can use."""

from pathlib import Path

import orjson
import pyarrow.parquet as pq
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.replay.session_file import read_session
from tests.replay.golden import SESSION


def test_a_session_is_exported_whole(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["export", str(SESSION), "-o", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    window = read_session(SESSION)
    events = [event for row in window.ws for event in orjson.loads(row.fields[b"payload"])]
    quotes = pq.read_table(tmp_path / "out" / "quotes.parquet")
    expected = [event for event in events if event["ev"] == "Q"]
    assert quotes.column("ticker").to_pylist() == [event["sym"] for event in expected]
    assert quotes.column("bid").to_pylist() == [event["bp"] for event in expected]
    assert [int(ts.timestamp() * 1000) for ts in quotes.column("ts").to_pylist()] == [event["t"] for event in expected]
    trades = pq.read_table(tmp_path / "out" / "trades.parquet")
    assert trades.num_rows == sum(event["ev"] == "T" for event in events)
    contracts = pq.read_table(tmp_path / "out" / "contracts.parquet")
    rows = [row for by_day in window.rows.values() for of_day in by_day.values() for row in orjson.loads(of_day)]
    assert sorted(contracts.column("oi").to_pylist()) == sorted(row["open_interest"] for row in rows)
    assert pq.read_table(tmp_path / "out" / "spots.parquet").num_rows == len(window.spots)
    assert pq.read_table(tmp_path / "out" / "models.parquet").num_rows == len(window.versions)
    again = CliRunner().invoke(main, ["export", str(SESSION), "-o", str(tmp_path / "out")])
    assert again.exit_code == 2
    assert "is there already" in again.output
