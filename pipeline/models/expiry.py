"""Expiry: the instant a pane stops trading or settles, and how far away it is."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
AM_SETTLEMENT = time(9, 30)
PM_SETTLEMENT = time(16, 0)
YEAR_MS = 365 * 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Event times are claims too: a time outside of what a calendar can hold is taken as its nearest end.
_LAST_MS = 253_370_764_800_000


def expiry_ms(expiration: date, settlement: str, early_closes: Mapping[date, time] | None = None) -> int:
    """The expiry instant in ms UTC: AM 09:30, PM 16:00 New York time on the expiration date.

    ``early_closes`` maps a date to the New York time its session ends (an exchange calendar); it moves PM panes only,
    since AM panes settle against the open.
    """
    at = AM_SETTLEMENT if settlement == "AM" else (early_closes or {}).get(expiration, PM_SETTLEMENT)
    instant = datetime.combine(expiration, at, tzinfo=NEW_YORK)
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def new_york_date(at_ms: int) -> date:
    """The calendar date in New York at an instant (ms UTC)."""
    return (_EPOCH + timedelta(milliseconds=min(max(at_ms, 0), _LAST_MS))).astimezone(NEW_YORK).date()


def days_to_expiration(expiration: date, as_of_ms: int) -> int:
    """DTE: calendar days in New York; negative once the date has passed."""
    return (expiration - new_york_date(as_of_ms)).days


def years_to(expires_ms: int, as_of_ms: int) -> float:
    """T = seconds / (365 * 86400); zero or negative when expired."""
    return (expires_ms - as_of_ms) / YEAR_MS
