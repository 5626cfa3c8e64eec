"""What lies between two readings, and how many processes follow from it."""

import pytest

from pipeline.readings import Reading, Work, between, quantile
from pipeline.status import StageStatus, Status

BUCKETS = {("h", "0.1"): 50.0, ("h", "0.2"): 90.0, ("h", "1.0"): 100.0, ("h", "+Inf"): 100.0}


def reading(at: float, committed: float, spent_s: float, arrived: int, consumer: str = "one", lag: int = 0) -> Reading:
    series = {
        ("entries_committed_total", ""): committed, ("batch_seconds_sum", ""): spent_s,
        ("errors_total", "oom"): committed / 10, ("events_total", "applied"): committed * 50,
        ("latency_seconds_bucket", "0.1"): committed, ("latency_seconds_bucket", "+Inf"): committed,
    }
    status = Status({"hydrate": StageStatus(lag, 0, None, 1, None, None)}, {}, {}, 0, 0)
    return Reading(at, status, {("hydrate", consumer): series, ("models", "away"): None}, {"hydrate": arrived}, at / 2)


def test_what_a_stage_did_is_what_has_grown() -> None:
    works = between(reading(10.0, 100, 1.0, 1000), reading(20.0, 500, 3.0, 2000, lag=7))
    hydrate = works.stages["hydrate"]
    assert (hydrate.processes, hydrate.arrived_per_s, hydrate.done_per_s, hydrate.lag) == (1, 100.0, 40.0, 7)
    assert hydrate.service_s == pytest.approx(0.005)
    assert hydrate.busy == pytest.approx(0.2)
    assert hydrate.errors_per_s == pytest.approx(4.0)
    assert hydrate.latency_p50_s == pytest.approx(0.05)
    assert works.events_per_s == {"applied": 2000.0}
    assert works.redis_busy == pytest.approx(0.5)
    assert works.silent == ("away",)


def test_a_process_that_began_meanwhile_counts_from_nothing() -> None:
    works = between(reading(0.0, 900, 9.0, 0, "old"), reading(10.0, 100, 1.0, 0, "new"))
    assert works.stages["hydrate"].done_per_s == 10.0


@pytest.mark.parametrize(("part", "seconds"), [(0.25, 0.05), (0.5, 0.1), (0.9, 0.2), (0.95, 0.6), (1.0, 1.0)])
def test_a_quantile_lies_on_straight_lines_within_buckets(part: float, seconds: float) -> None:
    assert quantile(BUCKETS, "h", part) == pytest.approx(seconds)


def test_a_quantile_beyond_the_last_bound_is_that_bound_and_of_nothing_it_is_unknown() -> None:
    assert quantile(BUCKETS | {("h", "+Inf"): 1000.0}, "h", 0.99) == 1.0
    assert quantile({("h", "+Inf"): 0.0}, "h", 0.5) is None
    assert quantile({}, "h", 0.5) is None


@pytest.mark.parametrize(("arrived_per_s", "lag", "service_s", "needed"), [
    (100.0, 0, 0.005, 1),  # half busy
    (100.0, 0, 0.007, 1),  # exactly as busy as may be
    (100.0, 0, 0.0071, 2),
    (100.0, 6000, 0.005, 2),  # a hundred more a second for a minute
    (1000.0, 0, 0.02, 29),
    (0.0, 0, 0.005, 1),
])  # fmt: skip
def test_processes_follow_from_what_comes_what_waits_and_how_long_an_entry_takes(
    arrived_per_s: float, lag: int, service_s: float, needed: int
) -> None:
    assert Work("hydrate", 1, arrived_per_s, 0.0, lag, None, 0.0, service_s).needed(60.0) == needed


def test_a_second_process_is_not_advised_where_it_would_only_take_turns() -> None:
    assert Work("models", 1, 1000.0, 0.0, 500, None, 0.0, 0.02).needed(60.0) == 1


def test_nothing_is_advised_where_nothing_was_done() -> None:
    assert Work("hydrate", 1, 100.0, 0.0, 5, None, 0.0).needed(60.0) is None
    assert Work("socket", 1, None, 5.0, 0, None, 0.0, 0.1).needed(60.0) is None
