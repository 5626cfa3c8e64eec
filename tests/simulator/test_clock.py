from datetime import UTC, datetime

import pytest

from pipeline.simulator import SimulatorSettings
from pipeline.simulator.clock import NEW_YORK, SessionClock, from_ns, market_hours, market_status, regular_moment, to_ns


@pytest.mark.parametrize(
    ("moment", "market", "session"),
    [
        ((2026, 9, 9, 3, 59), "closed", "closed"),
        ((2026, 9, 9, 4, 0), "extended-hours", "early_trading"),
        ((2026, 9, 9, 9, 29), "extended-hours", "early_trading"),
        ((2026, 9, 9, 9, 30), "open", "regular_trading"),
        ((2026, 9, 9, 15, 59), "open", "regular_trading"),
        ((2026, 9, 9, 16, 0), "extended-hours", "late_trading"),
        ((2026, 9, 9, 20, 0), "closed", "closed"),
        ((2026, 9, 12, 11, 0), "closed", "closed"),
    ],
)
def test_the_market_keeps_new_york_hours(moment, market, session):
    hours = market_hours(datetime(*moment, tzinfo=NEW_YORK))
    assert (hours.market, hours.session) == (market, session)


def test_nanoseconds_and_moments_are_the_same_both_ways():
    moment = datetime(2026, 3, 8, 3, 0, 0, 123456, tzinfo=NEW_YORK)
    assert from_ns(to_ns(moment)) == moment
    assert to_ns(datetime(1970, 1, 1, tzinfo=UTC)) == 0


def test_server_time_carries_milliseconds_and_the_offset():
    body = market_status(to_ns(datetime(2026, 1, 9, 16, 30, 0, 7_000, tzinfo=NEW_YORK)))
    assert body["serverTime"] == "2026-01-09T16:30:00.007-05:00"
    assert (body["market"], body["earlyHours"], body["afterHours"]) == ("extended-hours", False, True)


def test_a_stopped_clock_moves_only_when_told():
    clock = SessionClock(datetime(2026, 9, 9, 10, tzinfo=NEW_YORK), 0)
    before = clock.now_ns()
    clock.advance(1.5)
    assert clock.now_ns() - before == 1_500_000_000


def test_without_a_clock_a_session_starts_on_a_trading_morning():
    for day in range(6, 14):
        moment = regular_moment(datetime(2026, 9, day, 23, 0, tzinfo=UTC))
        assert moment.weekday() < 5
        assert market_hours(moment).market == "open"
        assert moment.date() <= datetime(2026, 9, day).date()


@pytest.mark.parametrize(
    "wrong",
    [{"clock": datetime(2026, 9, 9, 10)}, {"rate": -1}, {"clock_speed": -1}, {"port": 70_000}, {"rate": float("nan")}],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"clock|rate|port"):
        SimulatorSettings(**wrong)
