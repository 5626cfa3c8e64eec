"""Events made late, repeated, malformed or monstrous on their way to a connection."""

import copy
from collections.abc import Iterator

import orjson

from pipeline.simulator.event import Event
from pipeline.simulator.fault import FaultBoard

STREAM_FAULTS = frozenset(
    {"lag", "late", "repeat", "malformed", "bad-events", "crossed", "unknown-ticker", "oversized"}
)  # fmt: skip

FRAME_EVENTS = 400

_BROKEN_FRAMES = (
    b'[{"ev":"Q","sym":"O:SPXW26',
    b'{"ev":"Q","sym":"not in an array"}',
    b"null",
    b"",
    b'[{"ev":"T","p":NaN}]',
    b"[null,7,[]]",
)


def frames(events: list[Event]) -> Iterator[bytes]:
    """Events as JSON arrays, a few hundred a frame."""
    for start in range(0, len(events), FRAME_EVENTS):
        yield orjson.dumps(events[start : start + FRAME_EVENTS])


def troubled(events: list[Event], faults: FaultBoard) -> list[tuple[float, bytes]]:
    """What to send for these events under the faults now on: (seconds to wait, frame) in order."""
    prompt: list[Event] = []
    late: list[Event] = []
    for event in events:
        if event["ev"] == "Q" and faults.chance("crossed"):
            event = event | {"bp": round(event.get("ap", 1.0) + 0.5, 2)}
        held = faults.active("late") is not None and faults.roll(10) == 0
        if held:
            faults.strike("late")
        (late if held else prompt).append(event)
        if faults.chance("repeat"):
            prompt.append(event)
        if faults.chance("unknown-ticker"):
            prompt.append(_stranger(event))
        if faults.chance("bad-events"):
            prompt.append(_bad_event(event, faults.roll(8)))
    lag = faults.strike("lag")
    wait = lag.number if lag is not None else 0.0
    late_wait = wait + (fault.number if (fault := faults.active("late")) is not None else 0.0)
    sent: list[tuple[float, bytes]] = []
    for frame in frames(prompt):
        sent.append((wait, _grown(frame, faults)))
        if faults.chance("malformed"):
            sent.append((wait, _BROKEN_FRAMES[faults.roll(len(_BROKEN_FRAMES))]))
    return sent + [(late_wait, frame) for frame in frames(late)]


def _grown(frame: bytes, faults: FaultBoard) -> bytes:
    fault = faults.strike("oversized")
    if fault is None:
        return frame
    inner = frame[1:-1]
    return b"[" + b",".join([inner] * (int(fault.number * 1024 * 1024) // (len(inner) + 1) + 1)) + b"]"


def _stranger(event: Event) -> Event:
    """The same event of a contract that no chain lists, though its ticker is well formed."""
    name = "T" if event["ev"] == "V" else "sym"
    return event | {name: "I:NONE" if name == "T" else "O:ZZZW991217C00001000"}


def _bad_event(event: Event, kind: int) -> Event:
    bad = copy.copy(event)
    if kind == 0:
        bad.pop("T" if event["ev"] == "V" else "sym")
    elif kind == 1:
        bad["t"] = "yesterday"
    elif kind == 2:
        bad |= {"bp": "NaN", "ap": "NaN", "p": "NaN", "val": "NaN"}
    elif kind == 3:
        bad |= {"bp": None, "ap": None, "p": None, "val": None}
    elif kind == 4:
        bad["ev"] = "ZZ"
    elif kind == 5:
        # Nine digits of strike.
        bad["sym"] = "O:AAPL211022C000150000"
    elif kind == 6:
        bad |= {"bp": -5.0, "ap": 1e300, "p": -1, "val": -1}
    else:
        bad |= {"sym": 7, "q": [1]}
    return bad
