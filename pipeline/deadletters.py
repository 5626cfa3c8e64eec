"""Dead letters: entries that could not be done, kept whole with their error, to be listed, retried or dropped."""

import time
from dataclasses import dataclass
from itertools import islice

from walrus import Database

from pipeline.entry import Entry
from pipeline.keys import Keys
from pipeline.scripts import Scripts

_FIELD = b"field:"
_FIELDS_MAX = 3000
"""More would not fit into one call of a script, and the entry could neither be done nor buried."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    id: str
    stage: str
    stream: str
    entry: str
    error: str
    attempts: int
    ts: int
    fields: dict[bytes, bytes]


def bury(
    scripts: Scripts, keys: Keys, stage: str, consumer: str, entry: Entry, error: str, attempts: int
) -> bool:
    """Move one entry to the dead letters and acknowledge it, in one call. False: another consumer had it already."""
    fields: list[str | bytes] = []
    for name, value in islice(entry.fields.items(), _FIELDS_MAX):
        fields += [_FIELD + name, value]
    return bool(
        scripts.run(
            "bury",
            {"stream": entry.stream, "dead": keys.dead_of(entry.stream)},
            {
                "group": stage, "consumer": consumer, "entry": entry.id,
                "error": error[:1000].encode(errors="backslashreplace"), "attempts": attempts,
                "ts": int(time.time() * 1000), "fields": fields,
            },
        )
    )


def dead_letters(database: Database, dead: str, count: int = 100) -> list[DeadLetter]:
    """The newest dead letters first."""
    letters = []
    for letter_id, fields in database.xrevrange(dead, count=count):
        letters.append(
            DeadLetter(
                letter_id.decode(), fields[b"stage"].decode(), fields[b"stream"].decode(), fields[b"id"].decode(),
                fields[b"error"].decode(errors="replace"), int(fields[b"attempts"]), int(fields[b"ts"]),
                {name.removeprefix(_FIELD): value for name, value in fields.items() if name.startswith(_FIELD)},
            )
        )
    return letters


def retry(scripts: Scripts, dead: str, letter: DeadLetter) -> bool:
    """Put a letter back at the end of its stream, as a new entry, and take it off the dead. False: already gone."""
    fields = [part for name, value in letter.fields.items() for part in (name, value)]
    return bool(scripts.run("revive", {"dead": dead, "stream": letter.stream}, {"letter": letter.id, "fields": fields}))


def drop(database: Database, dead: str, letter: DeadLetter) -> bool:
    """Forget a letter for good. False: already gone."""
    return bool(database.xdel(dead, letter.id))
