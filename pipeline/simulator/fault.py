"""Everything the provider is known to do wrong, by name, and the board on which it is switched on and off.

A fault is written ``NAME[:PARAM][xCOUNT]``: ``429:2x3`` answers the next three requests with 429 and
``Retry-After: 2``; ``drop:30`` cuts every connection thirty seconds old. Without a count it lasts until cleared.
"""

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass


class FaultError(ValueError):
    """A fault that cannot be switched on; the message names the value and lists the known names."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """``default`` is the parameter where none is given: None takes no parameter, a str takes text, a float a number
    of at most ``most``."""

    about: str
    default: float | str | None = None
    most: float = 1.0


_SECONDS = 86_400.0

REST_FAULTS: dict[str, FaultKind] = {
    "401": FaultKind("every request: Unknown API Key"),
    "403": FaultKind("every request: not entitled (the text is under `error` on the chain, `message` elsewhere)"),
    "404": FaultKind("every request: a JSON 404, resource not found"),
    "404-route": FaultKind("every request: a text/plain 404, no such route"),
    "429": FaultKind("every request: too many, with Retry-After of PARAM seconds", 1.0, _SECONDS),
    "429-bare": FaultKind("every request: too many, without Retry-After"),
    "429-empty": FaultKind("every request: too many, without Retry-After and with an empty body"),
    "500": FaultKind("every request: 500 with an HTML body"),
    "502": FaultKind("every request: 502 with an HTML body"),
    "503-empty": FaultKind("every request: 503 with an empty body"),
    "slow-page": FaultKind("every answer PARAM seconds late", 5.0, _SECONDS),
    "half-page": FaultKind("the connection ends after PARAM (a fraction) of the body", 0.5),
    "malformed-page": FaultKind("200 with JSON cut in the middle and a length that agrees"),
    "nan-page": FaultKind("200 with a bare NaN where JSON has no such number"),
    "oversized-page": FaultKind("200 with PARAM MiB of padding in the envelope", 64.0, 512.0),
    "cursor-loop": FaultKind("next_url leads back to its own page"),
    "foreign-next": FaultKind("next_url points at another origin"),
    "empty-chain": FaultKind("200 with no rows and no next_url"),
    "vanish": FaultKind("PARAM (a fraction) of the contracts are not listed", 0.1),
    "null-rows": FaultKind("PARAM (a fraction) of rows with null for objects and figures", 0.05),
    "bad-rows": FaultKind("PARAM (a fraction) of rows malformed: nine-digit strikes, wrong types, NaN text", 0.05),
    "adjusted": FaultKind("PARAM (a fraction) of rows followed by an adjusted contract (root ends in a digit)", 0.02),
    "oi-flip": FaultKind("open interest differs on every other request"),
    "no-greeks": FaultKind("no row has greeks or implied volatility"),
    "no-underlying": FaultKind("the underlying's value is missing, as without an index plan"),
    "delayed": FaultKind("rows say DELAYED and their times are 15 minutes old"),
}

SOCKET_FAULTS: dict[str, FaultKind] = {
    "auth-failed": FaultKind("status auth_failed, then TCP ends without a close frame"),
    "auth-plan": FaultKind("auth_failed because the plan has no sockets, then TCP ends without a close frame"),
    "auth-silent": FaultKind("no answer to auth at all, until auth_timeout"),
    "auth-timeout": FaultKind("auth is waited for PARAM seconds only", 0.2, _SECONDS),
    "not-authorized": FaultKind("channel PARAM is outside the plan: an error that names no topic", "Q"),
    "max-connections-old": FaultKind(
        "above PARAM connections a cluster the oldest gets the status and is closed", 1, 99
    ),
    "max-connections-new": FaultKind("above PARAM the newcomer passes auth and subscribe, then status and 1008", 1, 99),
    "silent": FaultKind("authenticated, then nothing: no acks, no events"),
    "stall": FaultKind("acks but no events"),
    "no-pong": FaultKind("pings are not answered"),
    "drop": FaultKind("every connection PARAM seconds old is cut without a close frame", 5.0, _SECONDS),
    "close": FaultKind("every authenticated connection is closed with code PARAM", 1000.0, 4999.0),
    "lag": FaultKind("all events PARAM seconds late", 2.0, _SECONDS),
    "late": FaultKind("one event in ten PARAM seconds late, after newer ones", 2.0, _SECONDS),
    "repeat": FaultKind("PARAM (a fraction) of events sent twice", 0.1),
    "malformed": FaultKind("PARAM (a fraction) of frames followed by one that is not a JSON array", 0.1),
    "bad-events": FaultKind("PARAM (a fraction) of events followed by a malformed one", 0.05),
    "crossed": FaultKind("PARAM (a fraction) of quotes crossed", 0.02),
    "unknown-ticker": FaultKind("PARAM (a fraction) of events followed by one of a contract never listed", 0.05),
    "oversized": FaultKind("every frame grows to PARAM MiB by repeating its events", 1.2, 64.0),
    "missing-acks": FaultKind("PARAM (a fraction) of acks never come, though the topic is subscribed", 1.0),
}

FAULTS: dict[str, FaultKind] = REST_FAULTS | SOCKET_FAULTS

_SPELLING = re.compile(r"(?P<name>[a-z0-9-]+?)(?::(?P<param>[^:]+?))?(?:x(?P<count>[1-9]\d*))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault switched on. ``count`` is how often it strikes; None is until cleared."""

    name: str
    param: float | str | None = None
    count: int | None = None

    @property
    def number(self) -> float:
        """The parameter of a fault that takes a number."""
        return float(self.param) if self.param is not None else 0.0


def parse_fault(text: str) -> Fault:
    """Read ``drop:30`` or ``429:2x3``. Raises FaultError naming what is wrong."""
    match = _SPELLING.fullmatch(text.strip())
    if match is None or match["name"] not in FAULTS:
        raise FaultError(f"unknown fault {text!r}; known: {', '.join(FAULTS)}")
    name, param = match["name"], match["param"]
    count = int(match["count"]) if match["count"] else None
    kind = FAULTS[name]
    if kind.default is None:
        if param is not None:
            raise FaultError(f"fault {text!r}: {name} takes no parameter")
        return Fault(name, None, count)
    if param is None:
        return Fault(name, kind.default, count)
    if isinstance(kind.default, str):
        return Fault(name, param, count)
    try:
        number = float(param)
    except ValueError as error:
        raise FaultError(f"fault {text!r}: {param!r} is not a number ({kind.about})") from error
    if not 0 <= number <= kind.most:
        raise FaultError(f"fault {text!r}: {param} is not between 0 and {kind.most:g} ({kind.about})")
    return Fault(name, number, count)


class FaultBoard:
    """Faults now switched on, and how often each has struck. Safe to use from any thread.

    Its dice are seeded apart from the market's: switching a fault on never changes what the market does.
    """

    def __init__(self, faults: tuple[Fault, ...], seed: int) -> None:
        self.struck: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._dice = random.Random(f"faults {seed}")
        self._active: dict[str, Fault] = {}
        self._left: dict[str, int | None] = {}
        for fault in faults:
            self.inject(fault)

    def inject(self, fault: Fault) -> None:
        """Switch on. Again with other parameters replaces the first."""
        if fault.name not in FAULTS:
            raise FaultError(f"unknown fault {fault.name!r}; known: {', '.join(FAULTS)}")
        if fault.param is None and FAULTS[fault.name].default is not None:
            fault = Fault(fault.name, FAULTS[fault.name].default, fault.count)
        with self._lock:
            self._active[fault.name] = fault
            self._left[fault.name] = fault.count

    def clear(self, name: str | None = None) -> None:
        """Switch one off, or all."""
        with self._lock:
            for gone in [name] if name is not None else list(self._active):
                self._active.pop(gone, None)
                self._left.pop(gone, None)

    def active(self, name: str) -> Fault | None:
        """The fault if it is on, without counting this as a strike."""
        return self._active.get(name)

    def any_of(self, names: frozenset[str]) -> bool:
        return not names.isdisjoint(self._active)

    def strike(self, name: str) -> Fault | None:
        """The fault if it is on, counted as one strike; the last of its count switches it off."""
        if name not in self._active:
            return None
        with self._lock:
            fault = self._active.get(name)
            if fault is None:
                return None
            self.struck[name] += 1
            left = self._left[name]
            if left is not None:
                self._left[name] = left - 1
                if left <= 1:
                    del self._active[name], self._left[name]
            return fault

    def chance(self, name: str) -> bool:
        """Throw the dice of a fault whose parameter is a fraction; a hit is a strike."""
        fault = self._active.get(name)
        return fault is not None and self._dice.random() < fault.number and self.strike(name) is not None

    def roll(self, sides: int) -> int:
        """A number from 0 below ``sides`` from the faults' own dice."""
        return self._dice.randrange(sides)
