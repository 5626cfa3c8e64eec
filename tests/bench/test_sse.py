"""What is told of the gateway is of clients that were told everything."""

import math

import pytest

from pipeline.bench import sse
from pipeline.bench.benchmark import Bench
from tests.bench.small import small_chain


def test_every_client_is_timed_for_every_moment(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "CLIENTS", 5)
    monkeypatch.setattr(sse, "small", small_chain)
    result = sse.run(tiny)
    assert set(sse.BENCHMARK.goals) <= set(result.ratios)
    for sample in (*result.figures.values(), *result.ratios.values()):
        assert all(math.isfinite(value) and value > 0.0 for value in sample.values)


def test_a_moment_has_come_with_its_last_event() -> None:
    seen = [(3, 1.0), (4, 2.0), (7, 3.0), (9, 4.0)]
    assert sse._moments(seen, 3, [1, 2, 2]) == [2.0, 3.0, 4.0]
    assert sse._moments(seen, 2, [2, 3]) == [2.0, 3.0]
    with pytest.raises(sse.BenchError, match="not told everything"):
        sse._moments(seen, 3, [7])
