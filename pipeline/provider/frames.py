"""Socket frames: what kind of thing each holds, read once and cheaply. Whatever cannot be read is still a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.provider.market import Value, price_of

_SUBSCRIBED = "subscribed to: "
TOPICS_A_FRAME = 500  # of a subscription; a thousand quotes are some 30 kB


@dataclass(frozen=True, slots=True)
class Received:
    """One frame as it came. ``ts`` is the wall clock at its receipt, ms."""

    ts: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """``events``: everything in it that is no status, malformed elements included. ``readable``: a JSON array."""

    statuses: tuple[dict[str, Any], ...]
    events: tuple[Any, ...]
    readable: bool = True


_UNREADABLE = Frame((), (), readable=False)


def read_frame(payload: bytes) -> Frame:
    try:
        elements = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _UNREADABLE
    if not isinstance(elements, list):
        return _UNREADABLE
    statuses = tuple(e for e in elements if isinstance(e, dict) and e.get("ev") == "status")
    if not statuses:
        return Frame((), tuple(elements))
    return Frame(statuses, tuple(e for e in elements if not (isinstance(e, dict) and e.get("ev") == "status")))


def root_of(event: Any) -> str | None:
    """The settlement root of an option event, parsed from the right; None for what names no option."""
    ticker = event.get("sym") if isinstance(event, dict) else None
    if not isinstance(ticker, str) or not ticker.startswith("O:") or len(ticker) < 18:
        return None
    return ticker[2:-15]


def read_value(event: Any) -> Value | None:
    """An index value event; None for another event or one that cannot be right."""
    if not isinstance(event, dict) or event.get("ev") != "V":
        return None
    ticker, price, ts = event.get("T"), price_of(event.get("val")), event.get("t")
    if not isinstance(ticker, str) or price is None or isinstance(ts, bool) or not isinstance(ts, int):
        return None
    return Value(ticker, price, ts) if 0 < ts < 1 << 53 else None


def acked_topic(status: dict[str, Any]) -> str | None:
    """The topic that a status says is subscribed; None for any other status."""
    message = status.get("message")
    if status.get("status") != "success" or not isinstance(message, str) or not message.startswith(_SUBSCRIBED):
        return None
    return message.removeprefix(_SUBSCRIBED).strip()


def requests(action: str, topics: Sequence[str]) -> list[str]:
    """The client frames that subscribe or unsubscribe these topics."""
    return [
        orjson.dumps({"action": action, "params": ",".join(topics[start : start + TOPICS_A_FRAME])}).decode()
        for start in range(0, len(topics), TOPICS_A_FRAME)
    ]
