"""The session's own clock: what time it is at the simulated provider, and what the market is doing then."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
NS = 1_000_000_000

_EARLY, _OPEN, _CLOSE, _LATE = time_of_day(4), time_of_day(9, 30), time_of_day(16), time_of_day(20)


def regular_moment(today: datetime) -> datetime:
    """10:00 New York on the most recent weekday: an open market whatever the hour this is asked at."""
    moment = today.astimezone(NEW_YORK).replace(hour=10, minute=0, second=0, microsecond=0)
    while moment.weekday() > 4:
        moment -= timedelta(days=1)
    return moment


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware time, exact to its microsecond."""
    whole = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds) * 1_000


def from_ns(ns: int) -> datetime:
    """The same moment in New York, to the microsecond."""
    return datetime.fromtimestamp(ns // NS, NEW_YORK).replace(microsecond=ns % NS // 1_000)


class SessionClock:
    """Runs ``speed`` times as fast as the wall from ``start``; at speed 0 it moves only when told to."""

    def __init__(self, start: datetime, speed: float) -> None:
        self.start_ns = to_ns(start)
        self.speed = speed
        self._origin = time.monotonic_ns()
        self._added_ns = 0

    def restart(self) -> None:
        """Session time is its start again, from now on."""
        self._origin = time.monotonic_ns()
        self._added_ns = 0

    def now_ns(self) -> int:
        return self.start_ns + round((time.monotonic_ns() - self._origin) * self.speed) + self._added_ns

    def advance(self, seconds: float) -> None:
        """Add session time at once."""
        self._added_ns += round(seconds * NS)


@dataclass(frozen=True, slots=True)
class MarketHours:
    """What the provider says of the market at one moment. Weekends are closed; holidays are not known here."""

    market: str  # open, extended-hours or closed
    early: bool
    late: bool

    @property
    def session(self) -> str:
        """The same in the words of the snapshot rows."""
        if self.market == "open":
            return "regular_trading"
        return "early_trading" if self.early else "late_trading" if self.late else "closed"


def market_hours(moment: datetime) -> MarketHours:
    """Regular hours are 09:30-16:00 New York on weekdays, extended ones 04:00-20:00 around them."""
    local = moment.astimezone(NEW_YORK)
    clock = local.time()
    if local.weekday() > 4 or not _EARLY <= clock < _LATE:
        return MarketHours("closed", early=False, late=False)
    if clock < _OPEN:
        return MarketHours("extended-hours", early=True, late=False)
    if clock < _CLOSE:
        return MarketHours("open", early=False, late=False)
    return MarketHours("extended-hours", early=False, late=True)


def market_status(now_ns: int) -> dict[str, object]:
    """The body of ``/v1/marketstatus/now``. ``serverTime`` carries milliseconds: it is the only clock we are given."""
    moment = from_ns(now_ns)
    hours = market_hours(moment)
    groups = ("s_and_p", "societe_generale", "msci", "ftse_russell", "mstar", "mstarc", "cccy", "nasdaq", "dow_jones")
    return {
        "afterHours": hours.late,
        "currencies": {"crypto": "open", "fx": "open"},
        "earlyHours": hours.early,
        "exchanges": dict.fromkeys(("nasdaq", "nyse", "otc"), hours.market),
        "indicesGroups": dict.fromkeys(groups, hours.market),
        "market": hours.market,
        "serverTime": moment.isoformat(timespec="milliseconds"),
    }
