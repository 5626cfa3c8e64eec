"""The exchange's calendar against what the exchange announced."""

import subprocess
import sys
from datetime import date, time

import pytest

from pipeline.calendar import early_closes, is_session, previous_session
from pipeline.models.expiry import expiry_ms


def test_the_early_closes_of_two_years():
    assert early_closes(date(2025, 1, 1), date(2026, 12, 31)) == dict.fromkeys(
        [date(2025, 7, 3), date(2025, 11, 28), date(2025, 12, 24), date(2026, 11, 27), date(2026, 12, 24)], time(13, 0)
    )


def test_only_the_days_asked_for_are_told_ends_included():
    assert list(early_closes(date(2026, 11, 27), date(2026, 12, 23))) == [date(2026, 11, 27)]
    assert list(early_closes(date(2026, 11, 28), date(2026, 12, 24))) == [date(2026, 12, 24)]
    assert early_closes(date(2026, 12, 31), date(2026, 1, 1)) == {}


def test_a_span_may_cross_the_years_that_are_asked_for_at_a_time():
    found = early_closes(date(2038, 1, 1), date(2041, 12, 31))
    assert {day.year for day in found} == {2038, 2039, 2040, 2041}
    assert list(found) == sorted(found)


def test_an_early_close_moves_the_expiry_of_its_afternoon_panes():
    closes = early_closes(date(2026, 1, 1), date(2026, 12, 31))
    day = date(2026, 11, 27)
    assert expiry_ms(day, "PM") - expiry_ms(day, "PM", closes) == 3 * 3_600_000
    assert expiry_ms(day, "AM") == expiry_ms(day, "AM", closes)


@pytest.mark.parametrize(
    ("day", "previous"),
    [
        (date(2026, 8, 21), date(2026, 8, 20)),
        (date(2026, 8, 24), date(2026, 8, 21)),
        (date(2026, 9, 8), date(2026, 9, 4)),  # Labor Day before it
        (date(2025, 1, 10), date(2025, 1, 8)),  # closed for a day of mourning
        (date(2022, 3, 23), date(2022, 3, 22)),
    ],
)
def test_the_previous_session_knows_weekends_and_holidays(day, previous):
    assert previous_session(day) == previous


def test_holidays_have_no_session():
    assert not is_session(date(2026, 12, 25))
    assert not is_session(date(2026, 8, 22))
    assert is_session(date(2026, 11, 27))


def test_what_does_not_ask_does_not_pay():
    """The library behind it takes seconds to import; importing this module must not."""
    code = "import sys, pipeline.calendar; sys.exit('exchange_calendars' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
