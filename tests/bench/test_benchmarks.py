"""Every benchmark there is runs, does the work it measures, and gives the ratios it has goals for."""

import math

import pytest
from walrus import Database

from pipeline.bench import hops
from pipeline.bench.benchmark import Bench
from pipeline.bench.near_chain import near_chain, near_ticks
from pipeline.bench.peers.hop import NEXT, TOTALS
from pipeline.bench.peers.peer import PEERS, Peer, check, jobs_per_s
from pipeline.bench.recompute import HEATMAP, Recompute, stored_tiles
from pipeline.bench.registry import benchmarks

OURS = ("hops", "models", "old", "hydrate", "memory", "metrics", "replay")


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "PEERS", ())


@pytest.mark.parametrize("name", OURS)
@pytest.mark.usefixtures("no_peers")
def test_it_yields_the_ratios_it_promises(name: str, tiny: Bench) -> None:
    benchmark = benchmarks()[name]
    result = benchmark.run(tiny)
    assert result.name == benchmark.name
    assert set(benchmark.goals) - set(result.ratios) <= {"vs_best_peer"}
    for sample in (*result.figures.values(), *result.ratios.values()):
        assert len(sample.values) == 1 or sample.values == (sample.median,) * len(sample.values)
        assert all(math.isfinite(value) and value > 0.0 for value in sample.values)
    for pair in result.pairs.values():
        assert set(pair) <= set(result.figures)


def test_every_module_that_exports_a_benchmark_is_found_by_its_name() -> None:
    found = benchmarks()
    assert set(OURS) <= set(found)
    for name, benchmark in found.items():
        assert benchmark.name == name
        assert benchmark.what
        assert benchmark.yardstick


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_does_every_job_once(peer: Peer, tiny: Bench, database: Database) -> None:
    if not peer.installed:
        pytest.skip(f"{peer.name} is not installed: it is of the `bench` extra")
    assert math.isfinite(jobs_per_s(peer, tiny, database))
    check(peer.name, database, database.xlen(NEXT))


@pytest.mark.usefixtures("no_peers")
def test_a_peer_that_is_not_installed_is_left_out_and_named(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "PEERS", (Peer("nobody", "no_such_library", 100),))
    result = hops.run(tiny)
    assert set(result.figures) == {"engine", "bare"}
    assert result.notes == ("nobody is not installed: see Benchmark in README.md",)


@pytest.mark.parametrize(("passed", "totals"), [(2, {"a": 1, "b": 5}), (3, {"a": 1, "b": 4}), (3, {"a": 7})])
def test_work_that_was_not_done_once_is_not_counted(passed: int, totals: dict[str, int], database: Database) -> None:
    for _ in range(passed):
        database.xadd(NEXT, {"name": "a", "value": 1})
    database.hset(TOTALS, mapping=totals)
    with pytest.raises(hops.BenchError, match="somebody passed on"):
        check("somebody", database, 3)


def test_the_design_that_recomputes_everything_prices_tiles_as_the_models_do(database: Database) -> None:
    listed, spot = near_chain()
    widths = (20.0, 50.0)
    old = Recompute.of(database, listed, spot, widths)
    tick = next(near_ticks(listed, 5))
    tiles = old.tick(tick)
    document = stored_tiles(database)
    assert len(document["tiles"]) == tiles
    assert database.strlen(HEATMAP) > 1_000_000
    quotes = {one.ticker: (one.bid, one.ask) for one in listed} | {one.ticker: (one.bid, one.ask) for one in tick}
    butterfly = next(tile for tile in document["tiles"] if tile["strategy"] == "butterfly" and tile["width"] == 50.0)
    legs = [(leg["ratio"], *quotes[leg["ticker"]]) for leg in butterfly["legs"]]
    assert [ratio for ratio, _, _ in legs] == [1, -2, 1]
    mid = sum(ratio * (bid + ask) / 2 for ratio, bid, ask in legs)
    buy = sum(ratio * (ask if ratio > 0 else bid) for ratio, bid, ask in legs)
    assert butterfly["debit"]["mid"] == pytest.approx(mid, abs=1e-3)
    assert butterfly["debit"]["buy"] == pytest.approx(buy, abs=1e-3)
