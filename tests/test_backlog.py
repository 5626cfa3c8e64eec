"""What waits for Redis: first in, first out, bounded, the oldest given up first."""

from pipeline.backlog import Appended, Backlog


def entries(*numbers: int, size: int = 100) -> list[Appended]:
    return [Appended("s", number, {"payload": b"x" * size, "n": str(number)}) for number in numbers]


def test_first_in_first_out() -> None:
    backlog = Backlog(10_000)
    backlog.put(entries(1, 2, 3))
    backlog.put(entries(4))
    assert [entry.ts for entry in backlog.take(3, 10_000)] == [1, 2, 3]
    assert [entry.ts for entry in backlog.take(3, 10_000)] == [4]
    assert backlog.take(3, 10_000) == []
    assert (backlog.bytes, backlog.peak, backlog.dropped) == (0, 4, 0)


def test_the_oldest_are_given_up_when_it_is_full() -> None:
    backlog = Backlog(1000)
    backlog.put(entries(*range(10)))
    kept = [entry.ts for entry in backlog.take(100, 10_000)]
    assert kept == [7, 8, 9]
    assert backlog.dropped == 7
    assert backlog.bytes == 0


def test_one_entry_larger_than_the_bound_is_kept_until_another_comes() -> None:
    backlog = Backlog(100)
    backlog.put(entries(1, size=5000))
    assert len(backlog) == 1
    backlog.put(entries(2))
    assert [entry.ts for entry in backlog.take(5, 100)] == [2]


def test_a_batch_is_bounded_in_bytes_but_never_empty() -> None:
    backlog = Backlog(100_000)
    backlog.put(entries(1, 2, 3, size=1000))
    assert [entry.ts for entry in backlog.take(10, 100)] == [1]
    assert [entry.ts for entry in backlog.take(10, 2500)] == [2, 3]


def test_waiting_ends_when_something_comes() -> None:
    backlog = Backlog(1000)
    backlog.wait(0.0)
    backlog.put(entries(1))
    backlog.wait(60.0)
    backlog.take(1, 1000)
    backlog.wait(0.0)
