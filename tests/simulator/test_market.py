from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from pipeline.simulator import SimulatorSettings
from pipeline.simulator.clock import NEW_YORK
from pipeline.simulator.event import Selection, index_events, option_events
from pipeline.simulator.market import Market
from pipeline.simulator.server import build_market
from pipeline.simulator.spot import SpotPathError
from tests.simulator.conftest import MORNING

SETTINGS = SimulatorSettings(symbols=("SPX", "NDX"), rate=2_000, clock=MORNING, clock_speed=0)
BARS = "date,time_et,open,high,low,close\n"


def market(**changes) -> Market:
    return build_market(replace(SETTINGS, **changes))[0]


def events(market: Market, seconds: float):
    """All option and index events of so many session seconds."""
    everything = Selection(market, "options", frozenset({f"Q.{t}" for t in market.ticker} | {"T.*", "A.*", "AM.*"}))
    indices = Selection(market, "indices", frozenset({"V.*", "A.*", "AM.*"}))
    options, values = [], []
    for _ in range(round(seconds * 40)):
        step = market.step()
        options += option_events(market, step, everything)
        values += index_events(market, step, indices)
    return options, values


@pytest.fixture(scope="module")
def minute():
    # Twenty-five seconds, with the end of a minute among them.
    moved = market(clock=MORNING.replace(second=40))
    return moved, *events(moved, 25)


def test_events_come_at_the_rate(minute):
    _, options, _ = minute
    ticks = sum(event["ev"] in "QT" for event in options)
    assert ticks / 25 == pytest.approx(2_000, rel=0.05)


def test_over_nine_in_ten_quotes_change_sizes_only(minute):
    _, options, _ = minute
    prices: dict[str, tuple] = {}
    same = total = 0
    for event in options:
        if event["ev"] == "Q":
            now = event.get("bp"), event.get("ap")
            same += prices.get(event["sym"], now) == now
            total += 1
            prices[event["sym"]] = now
    assert 0.90 < same / total < 0.99


def test_most_events_are_near_the_money_and_near_in_time(minute):
    moved, options, _ = minute
    rows = [moved.row_of[event["sym"]] for event in options if event["ev"] == "Q"]
    distance = np.abs(moved.strike[rows] / moved.spot[moved.symbol[rows]] - 1)
    assert np.median(distance) < 0.015
    assert np.median(np.abs(moved.strike / moved.spot[moved.symbol] - 1)) > 0.03


def test_sequence_numbers_and_times_rise_for_every_ticker_with_gaps(minute):
    _, options, _ = minute
    last: dict[str, tuple[int, int]] = {}
    gaps = 0
    for event in options:
        if event["ev"] in "QT":
            before = last.get(event["sym"], (0, 0))
            assert event["q"] > before[0]
            assert event["t"] >= before[1]
            gaps += event["q"] > before[0] + 1
            last[event["sym"]] = event["q"], event["t"]
    assert gaps > len(last)


def test_quotes_follow_spot_and_stay_uncrossed(minute):
    moved, _, _ = minute
    assert (moved.spot != moved.chain_spot).all()
    offered = moved.ask > 0
    assert (moved.bid[offered] <= moved.ask[offered]).all()
    fresh = market()
    assert (fresh.ask != moved.ask).mean() > 0.05


def test_bars_add_up_to_the_trades(minute):
    _, options, _ = minute
    end = max(event["e"] for event in options if event["ev"] == "AM")
    for channel in ("A", "AM"):
        bars = sum(event["v"] for event in options if event["ev"] == channel and event["e"] <= end)
        trades = sum(event["s"] for event in options if event["ev"] == "T" and event["t"] < end)
        assert bars == trades
    bar = next(event for event in options if event["ev"] == "A")
    assert bar["e"] - bar["s"] == 1_000
    assert bar["l"] <= bar["vw"] <= bar["h"]
    volumes: dict[str, int] = {}
    for event in options:
        if event["ev"] == "A":
            assert event["av"] >= volumes.get(event["sym"], 0)
            volumes[event["sym"]] = event["av"]


def test_index_values_come_five_times_a_second_in_cents(minute):
    moved, _, values = minute
    seen = [event for event in values if event["ev"] == "V" and event["T"] == "I:NDX"]
    assert len(seen) == 25 * 5
    assert all(round(event["val"], 2) == event["val"] for event in seen)
    assert max(abs(event["val"] / moved.chain_spot[1] - 1) for event in seen) < 0.01
    assert {event["ev"] for event in values} == {"V", "A", "AM"}


def test_some_trades_carry_no_conditions_and_one_sided_quotes_come_in_both_forms():
    moved = market(rate=100_000)
    options, _ = events(moved, 0.6)
    trades = [event for event in options if event["ev"] == "T"]
    assert 0.01 < sum("c" not in event for event in trades) / len(trades) < 0.1
    quotes = [event for event in options if event["ev"] == "Q"]
    assert any("bp" not in event for event in quotes)
    assert any(event.get("bp") == 0 for event in quotes)


def test_a_still_market_has_no_events_and_no_moves():
    moved = market(rate=0)
    before = moved.bid.copy(), moved.quote_ns.copy(), moved.spot.copy()
    assert events(moved, 5) == ([], [])
    assert all((a == b).all() for a, b in zip(before, (moved.bid, moved.quote_ns, moved.spot), strict=True))


def test_nothing_trades_before_the_open_and_volume_begins_anew_at_it():
    moved = market(clock=datetime(2026, 9, 9, 9, 29, 59, tzinfo=NEW_YORK))
    yesterday = moved.volume.sum()
    assert events(moved, 0.9) == ([], [])
    assert moved.volume.sum() == yesterday > 0
    assert events(moved, 1)[0] != []
    assert 0 < moved.volume.sum() < yesterday / 10


def test_nothing_trades_when_the_market_is_closed():
    assert events(market(clock=datetime(2026, 9, 12, 11, tzinfo=NEW_YORK)), 2) == ([], [])


def test_what_has_expired_no_longer_trades():
    moved = market(clock=datetime(2026, 9, 9, 16, 0, 1, tzinfo=NEW_YORK))
    options, _ = events(moved, 2)
    assert options
    assert not any("260909" in event["sym"] for event in options)


def test_a_recorded_path_of_the_session_is_followed_to_the_cent(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(f"{BARS}2026-09-09,10:00,7000,7010,6995,7005\n2026-09-09,10:01,7005,7006,6999,7000\n")
    moved = market(spot_path=path, rate=20)
    assert moved.spot[0] == 7000
    seen = []
    for _ in range(59 * 40):
        moved.step()
        seen.append(moved.spot[0])
    assert min(seen) == pytest.approx(6995, abs=0.02)
    assert max(seen) == pytest.approx(7010, abs=0.02)
    assert seen[-1] == 7005
    # The other underlying moves by the same returns.
    assert moved.spot[1] == pytest.approx(25_000 * 7005 / 7000, abs=0.01)


def test_a_recorded_path_of_another_day_is_walked_from_its_first_bar(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(f"{BARS}2020-03-02,09:30,3000,3000,3000,3000\n2020-03-03,09:30,3000,3030,3000,3030\n")
    moved = market(spot_path=path, rate=20)
    assert moved.spot[0] == 6800
    for _ in range(59 * 40):
        moved.step()
    assert moved.spot[0] == pytest.approx(6868)


def test_a_file_that_is_no_path_is_named(tmp_path):
    for text in ("a,b\n1,2\n", BARS, f"{BARS}2026-09-09,10:00,x,1,1,1\n"):
        path = tmp_path / "bars.csv"
        path.write_text(text)
        with pytest.raises(SpotPathError, match=r"bars\.csv"):
            market(spot_path=path)
