"""A bench as small as can be, on each kind of server."""

from pathlib import Path

import pytest
from walrus import Database

from pipeline.bench.benchmark import Bench


@pytest.fixture
def tiny(redis_url: str, database: Database, tmp_path: Path) -> Bench:
    """``database`` empties what the benchmark leaves behind."""
    return Bench(redis_url, tmp_path, seconds=0.2, repeats=1, say=lambda _: None)
