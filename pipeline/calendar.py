"""The exchange's calendar: which days have a session, and when it ends.

A wrapper of ``exchange_calendars`` (New York, XNYS). The library is imported when it is first asked something, since
that takes seconds and most processes never ask; what it says of a span of years is kept. Its own default span ends a
year after the wall clock: every question here names its years instead, so that the answer depends on the dates alone.
"""

from collections.abc import Mapping
from datetime import date, time, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from pipeline.models.expiry import NEW_YORK

_EXCHANGE = "XNYS"
# Years the library is asked for at a time: building one year or twenty takes about the same time.
_SPAN = 20
# No public holiday lasts as long; a session further back than this would be a fault of the calendar.
_LONGEST_CLOSURE_DAYS = 14


def early_closes(first: date, last: date) -> Mapping[date, time]:
    """The sessions from ``first`` to ``last``, ends included, that end early: date -> New York time of the close."""
    found: dict[date, time] = {}
    for span in range(_span_of(first), _span_of(last) + 1, _SPAN):
        found.update((day, close) for day, close in _early_closes(span).items() if first <= day <= last)
    return found


def is_session(day: date) -> bool:
    """Whether the exchange opens on a day."""
    return day in _sessions(_span_of(day))


def previous_session(day: date) -> date:
    """The last session before a day; its close is what the open interest of a chain taken on that day describes.

    Raises ValueError where the calendar knows none within two weeks.
    """
    for back in range(1, _LONGEST_CLOSURE_DAYS + 1):
        earlier = day - timedelta(days=back)
        if is_session(earlier):
            return earlier
    raise ValueError(f"no session in the two weeks before {day.isoformat()}")


def _span_of(day: date) -> int:
    return day.year // _SPAN * _SPAN


@cache
def _calendar(span: int) -> Any:
    import exchange_calendars

    return exchange_calendars.get_calendar(_EXCHANGE, start=f"{span}-01-01", end=f"{span + _SPAN - 1}-12-31")


@cache
def _sessions(span: int) -> frozenset[date]:
    return frozenset(session.date() for session in _calendar(span).sessions)


@cache
def _early_closes(span: int) -> Mapping[date, time]:
    calendar = _calendar(span)
    return MappingProxyType({
        session.date(): calendar.closes[session].tz_convert(NEW_YORK).time() for session in calendar.early_closes
    })
