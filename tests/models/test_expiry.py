from datetime import UTC, date, datetime, time

import pytest

from pipeline.models.expiry import days_to_expiration, expiry_ms, years_to


def utc(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("settlement", "expiration", "expected"),
    [
        ("PM", date(2026, 8, 21), utc(2026, 8, 21, 20, 0)),
        ("AM", date(2026, 8, 21), utc(2026, 8, 21, 13, 30)),
        ("PM", date(2026, 12, 18), utc(2026, 12, 18, 21, 0)),
        ("AM", date(2026, 12, 18), utc(2026, 12, 18, 14, 30)),
    ],
)
def test_the_expiry_instant_follows_new_york_through_daylight_saving(settlement, expiration, expected):
    assert expiry_ms(expiration, settlement) == expected


def test_a_calendar_moves_the_close_of_pm_panes_only():
    early = {date(2026, 11, 27): time(13, 0)}
    assert expiry_ms(date(2026, 11, 27), "PM", early) == utc(2026, 11, 27, 18, 0)
    assert expiry_ms(date(2026, 11, 27), "AM", early) == utc(2026, 11, 27, 14, 30)
    assert expiry_ms(date(2026, 11, 30), "PM", early) == utc(2026, 11, 30, 21, 0)


def test_days_are_counted_on_new_yorks_calendar():
    late_evening_in_new_york = utc(2026, 8, 21, 3, 30)
    assert days_to_expiration(date(2026, 8, 21), late_evening_in_new_york) == 1
    assert days_to_expiration(date(2026, 8, 20), late_evening_in_new_york) == 0
    assert days_to_expiration(date(2026, 8, 19), late_evening_in_new_york) == -1


def test_an_event_time_no_calendar_can_hold_does_not_raise():
    assert days_to_expiration(date(2026, 8, 21), 10**18) < 0
    assert days_to_expiration(date(2026, 8, 21), -(10**18)) > 0


def test_a_year_has_365_days():
    assert years_to(365 * 86_400_000, 0) == 1.0
    assert years_to(0, 1) < 0
