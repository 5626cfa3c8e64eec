"""One entry of a stream, as a consumer group delivers it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field


class FieldError(ValueError):
    """A field that is missing or no such value; the message names the stream, the entry and the field."""


@dataclass(frozen=True, slots=True)
class Entry:
    stream: str
    id: str
    fields: dict[bytes, bytes]
    previous: str = ""
    """The entry before this one in the same read of new entries ('' for the first, and for what was pending)."""
    deliveries: int = field(default=1, compare=False)

    def text(self, name: str) -> str:
        value = self.fields.get(name.encode())
        if value is None:
            raise FieldError(f"{self.stream} {self.id}: no field {name}")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise FieldError(f"{self.stream} {self.id}: {name} is not UTF-8") from None

    def integer(self, name: str) -> int:
        text = self.text(name)
        try:
            return int(text)
        except ValueError:
            raise FieldError(f"{self.stream} {self.id}: {name} is not an integer: {text[:40]!r}") from None

    def number(self, name: str) -> float:
        text = self.text(name)
        try:
            return float(text)
        except ValueError:
            raise FieldError(f"{self.stream} {self.id}: {name} is not a number: {text[:40]!r}") from None


def id_key(entry_id: str) -> tuple[int, int]:
    """Stream ids sort by these numbers, not as text."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


def ranges(entries: Sequence[Entry]) -> str:
    """The ids of a batch, exactly: `a..b c` where everything of the stream between a and b was applied with it."""
    runs: list[list[str]] = []
    for entry in sorted(entries, key=lambda entry: id_key(entry.id)):
        if runs and entry.previous == runs[-1][-1]:
            runs[-1] = [runs[-1][0], entry.id]
        else:
            runs.append([entry.id])
    return " ".join("..".join(run) for run in runs)


def since_ms(entry: Entry) -> int:
    """When what an entry defers was first deferred: its ``since``, or when it was written."""
    since = entry.fields.get(b"since", b"")
    return int(since) if since.isdigit() else id_key(entry.id)[0]


def due_in_s(entry: Entry, interval_s: float) -> float:
    """Seconds until an entry has waited for ``interval_s``; never more than that, whatever the clocks of two machines
    say."""
    return min(since_ms(entry) / 1000 + interval_s - time.time(), interval_s)
