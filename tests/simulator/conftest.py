from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.simulator.clock import NEW_YORK

MORNING = datetime(2026, 9, 9, 10, 0, tzinfo=NEW_YORK)
STILL = SimulatorSettings(symbols=("SPX",), rate=0, clock=MORNING, clock_speed=0)


@pytest.fixture(scope="module")
def shared_still() -> Iterator[Simulator]:
    with Simulator(STILL) as sim:
        yield sim


@pytest.fixture
def still(shared_still: Simulator) -> Iterator[Simulator]:
    """SPX, still, its clock stopped at 10:00 New York on a Wednesday; without faults at first."""
    shared_still.clear()
    yield shared_still
    shared_still.clear()


@pytest.fixture
def moving() -> Iterator[Simulator]:
    """SPX at 4,000 events a session second; time goes only by ``advance``."""
    with Simulator(
        SimulatorSettings(symbols=("SPX",), rate=4_000, clock=MORNING, clock_speed=0, auth_timeout_s=60)
    ) as sim:
        yield sim


@pytest.fixture
def http(still: Simulator) -> Iterator[httpx.Client]:
    """A client of ``still`` with a key."""
    with httpx.Client(base_url=still.url, headers={"Authorization": "Bearer sim"}, trust_env=False) as client:
        yield client
