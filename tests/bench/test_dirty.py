"""dirty: what is measured is there, and nothing dirty costs nothing."""

import pytest

from pipeline.bench import dirty
from tests.bench.small import small_bench, small_chain


def test_a_short_run_tells_every_part_and_no_bytes_where_nothing_is_dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirty, "large", small_chain)
    with small_bench() as bench:
        result = dirty.BENCHMARK.run(bench)
    assert set(dirty.BENCHMARK.goals) <= set(result.ratios)
    for part in dirty.PARTS:
        assert result.figures[f"time_{part}"].median > 0.0
    assert result.figures["bytes_0"].median == 0.0
    assert 0.0 < result.figures["bytes_10pct"].median < result.figures["bytes_all"].median
