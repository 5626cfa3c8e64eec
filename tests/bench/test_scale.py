"""The benchmark `scale`, briefly: what it promises."""

import numpy as np

from pipeline.bench.scale import BENCHMARK, CONSUMERS, measured
from tests.bench.small import small_bench, small_chain, values


def test_a_short_run_tells_every_figure_and_ratio() -> None:
    with small_bench() as bench:
        result = measured(bench, small_chain, small_chain, (1, 2))
    drained = {
        "hydrate_1", "hydrate_2", "hydrate_1_10x", "hydrate_1_10x_all", "hydrate_2_10x_all", "calculate_1",
        "calculate_2",
    }
    updates = {"hydrate_1_updates", "hydrate_1_10x_all_updates"}
    assert set(result.figures) == drained | updates | {f"{name}_redis_busy" for name in drained}
    assert set(result.ratios) == {
        "redis_busy", "redis_busy_subscribed", "cost_10x_contracts", "cost_10x_contracts_all",
        "cost_10x_contracts_all_an_update", "hydrate_2", "calculate_2",
    }
    assert set(BENCHMARK.goals) <= set(result.ratios)
    assert all(np.isfinite(value) and value > 0 for value in values({**result.figures, **result.ratios}))


def test_it_is_measured_with_one_two_and_four_consumers() -> None:
    assert CONSUMERS == (1, 2, 4)
