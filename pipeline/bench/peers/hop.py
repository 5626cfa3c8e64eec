"""What one job is, for ours and for every peer: add a value to a name's total and pass it on to the next stream."""

from collections.abc import Iterator
from typing import Any

TOTALS = "bench:hops:totals"
NEXT = "bench:hops:next"
NAMES = 1000


def jobs(entries: int) -> Iterator[tuple[str, int]]:
    """(name, value) of each job: every value is another, so that a total tells which were done, and how often."""
    return ((f"name-{number % NAMES}", number) for number in range(1, entries + 1))


def sum_of(entries: int) -> int:
    """What all totals come to when each job was done once."""
    return entries * (entries + 1) // 2


def put(pipeline: Any, name: str, value: int) -> None:
    """The two writes of a job, on a pipeline of redis-py, sync or async: one round trip when it is executed."""
    pipeline.hincrby(TOTALS, name, value)
    pipeline.xadd(NEXT, {"name": name, "value": value})
