import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.provider import rest as rest_module
from pipeline.provider.rest import Rest
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.simulator.clock import NEW_YORK
from tests.saying import KEY

MORNING = datetime(2026, 9, 9, 10, 0, tzinfo=NEW_YORK)


@pytest.fixture(scope="module")
def shared_still() -> Iterator[Simulator]:
    with Simulator(
        SimulatorSettings(symbols=("SPX",), rate=0, clock=MORNING, clock_speed=0, keys=frozenset({KEY}))
    ) as sim:
        yield sim


@pytest.fixture
def still(shared_still: Simulator) -> Iterator[Simulator]:
    """SPX, still, its clock stopped at 10:00 New York on a Wednesday; it knows one key."""
    shared_still.clear()
    yield shared_still
    shared_still.clear()


@pytest.fixture
def make_rest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rest]]:
    """Clients with a short temper: retries follow each other quickly."""
    monkeypatch.setattr(rest_module, "BACKOFF_S", (0.01, 0.05))
    made: list[Rest] = []

    def make(url: str, **overrides: Any) -> Rest:
        options: dict[str, Any] = {"timeout_s": 2.0, "requests_per_s": 1000.0, "stop": threading.Event()} | overrides
        made.append(Rest(url, options.pop("key", SecretStr(KEY)), **options))
        return made[-1]

    yield make
    for rest in made:
        rest.close()
