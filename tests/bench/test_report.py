"""The report is one file that asks nobody for anything."""

import re

import pytest

from pipeline.bench.benchmark import Benchmark, Measured
from pipeline.bench.measure import Goal, Result, Sample

pytest.importorskip("pygal", reason="pygal is not installed: it is of the `bench` extra")


@pytest.fixture
def page() -> str:
    from pipeline.cli.bench_report import report_page

    figures = {"ours <b>": Sample((900.0, 1000.0), "/s"), "theirs": Sample((3.0, 4.0), "/s"), "size": Sample((1.0,))}
    result = Result("some", figures, {"good": Sample((2.0,)), "bad": Sample((0.1,))}, notes=("a & b",))
    goals = {"good": Goal(at_least=1.0), "bad": Goal(at_least=1.0)}
    benchmark = Benchmark("some", "what is <measured>", "a yardstick", goals, lambda _: result)
    return report_page([Measured(benchmark, result, {"cpu": "a cpu", "server": {"kind": "redis"}})])


def test_it_needs_no_network_and_no_script(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page)


def test_it_says_figures_ratios_goals_and_where_they_were_taken(page: str) -> None:
    for words in ("ours &lt;b&gt;", "what is &lt;measured&gt;", "a &amp; b", "≥ 1", ">met<", ">missed<", "a cpu"):
        assert words in page
    assert "<measured>" not in page
    assert page.count("<svg") == 3, "the goals, and a chart a unit"
