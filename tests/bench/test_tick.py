"""The benchmark `tick`, briefly: what it promises, and that what it feeds goes all the way."""

import numpy as np
import orjson
import pytest

from pipeline.bench.measure import BenchError
from pipeline.bench.tape import Tape
from pipeline.bench.tick import BENCHMARK, CHAINS, DRIFT_RATE, RATES, Latencies, measured
from tests.bench.small import small_bench, small_chain, values


def test_a_short_run_tells_every_figure_and_ratio_of_its_rates_and_chains() -> None:
    with small_bench() as bench:
        result = measured(bench, (5_000, DRIFT_RATE), {100: small_chain})
    assert set(result.figures) == {
        f"{which}p{q}_ms_{rate}_100" for which in ("", "bare_") for q in (50, 95, 99) for rate in (5_000, DRIFT_RATE)
    } | {f"gex_p50_ms_{rate}_100" for rate in (5_000, DRIFT_RATE)}
    assert set(result.ratios) == {"p50_5000", "p99_5000", "p50_50000", "p99_50000", "drift_50000", "gex_p50_5000"}
    assert all(np.isfinite(value) and value > 0 for value in values({**result.figures, **result.ratios}))


def test_each_goal_is_of_a_ratio_that_is_measured() -> None:
    measured_keys = {f"p{q}_{rate}" for q in (50, 99) for rate in RATES} | {f"drift_{DRIFT_RATE}"}
    assert set(BENCHMARK.goals) <= measured_keys
    assert list(CHAINS) == [3_000, 30_000]


def test_drift_is_the_last_thirds_median_over_the_firsts() -> None:
    assert Latencies(np.array([1.0, 2.0, 3.0, 9.0, 9.0, 9.0, 4.0, 5.0, 6.0])).drift == 2.5
    with pytest.raises(BenchError, match="too few"):
        _ = Latencies(np.array([1.0])).drift


def test_a_tape_goes_on_where_it_was() -> None:
    chain = small_chain()
    whole, parts = Tape(chain.listed, chain.spot, seed=1), Tape(chain.listed, chain.spot, seed=1)
    for _ in range(2):
        assert whole.frames(5, 20, 10.0) == parts.frames(5, 20, 10.0)
    first, second = (orjson.loads(tape.frames(1, 20, 10.0)[0]) for tape in (whole, whole))
    assert second[0]["t"] == first[0]["t"] + 10
    assert second[0]["q"] == first[-1]["q"] + 1


def test_one_quote_of_ten_moves_a_price() -> None:
    chain = small_chain()
    last: dict[str, float] = {}
    moved = 0
    frames = Tape(chain.listed, chain.spot).frames(100, 100, 10.0)
    for event in (event for frame in frames for event in orjson.loads(frame)):
        moved += last.get(event["sym"], event["bp"]) != event["bp"]
        last[event["sym"]] = event["bp"]
    assert 0.08 < moved / 10_000 < 0.12
