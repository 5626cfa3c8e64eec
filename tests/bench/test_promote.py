"""promote: a chain is promoted while it is measured, and what it cost is told."""

import pytest

from pipeline.bench import promote
from tests.bench.small import small_bench, small_chain


def test_a_short_run_promotes_an_epoch_and_tells_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "large", small_chain)
    monkeypatch.setattr(promote, "WHILE_S", 0.5)
    with small_bench() as bench:
        result = promote.BENCHMARK.run(bench)
    assert set(promote.BENCHMARK.goals) <= set(result.ratios)
    assert result.ratios["tick_p99"].median > 0.0
    assert result.figures["promoting_promotion_s"].median > 0.0
    assert result.figures["longest_stall_ms"].median > 0.0
