"""`marketswarm bench --profile`: flame graphs of the stages, and what the server spent."""

from pathlib import Path

import pytest

from pipeline.bench import flames
from pipeline.bench.measure import BenchError
from tests.bench.small import small_bench, small_chain
from tests.cli.run import marketswarm, refused


def test_a_flame_graph_of_each_stage_and_the_servers_share(tmp_path: Path) -> None:
    if not flames.recorder():
        pytest.skip("py-spy is not installed (marketswarm[bench])")
    with small_bench() as bench:
        try:
            written = flames.record(bench, tmp_path, small_chain)
        except BenchError as error:
            if "ermission" in str(error):
                pytest.skip(f"this machine lets nobody look at a process: {error}")
            raise
    assert [path.name for path in written] == ["hydrate.svg", "calculate.svg", "models.svg", "redis.txt"]
    assert all("<svg" in path.read_text() for path in written[:3])
    costs = written[3].read_text()
    assert all(name in costs for name in ("hydrate", "claim_panes", "commit_panes", "publish", "hset", "xadd"))


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    if not flames.recorder():
        pytest.skip("py-spy is not installed (marketswarm[bench])")
    (tmp_path / "taken").write_text("")
    said = refused(marketswarm("bench", "models", "--profile", str(tmp_path / "taken" / "flames")))
    assert said.startswith("--profile: ")
