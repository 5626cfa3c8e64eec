"""A gateway in a thread of the test's, over a small world that publishes."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from walrus import Database

from consumers import gateway
from pipeline.settings import Settings
from pipeline.stage import Engine
from tests.gateway.page import DOCUMENTS
from tests.gateway.tab import Tab
from tests.running import Running, running
from tests.waiting import wait_until
from tests.world import STAGES, T0, World, quote, row, tickers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(settings: Settings, database: Database) -> Iterator[Running]:
    """A gateway that answers."""
    with running("gateway", gateway.run, settings, database) as made:
        wait_until(lambda: made.error or answers(settings.gateway_port), "the gateway")
        yield made


@dataclass(slots=True)
class Served:
    """A running gateway and what it serves."""

    url: str
    settings: Settings
    world: World
    running: Running
    _engines: list[Engine] = field(default_factory=list)

    def begin(self) -> None:
        """The first epoch of SPX, published."""
        self._engines = [self.world.engine(stage) for stage in STAGES]
        self.world.chain([row(ticker) for ticker in tickers()])
        self.world.settle(self._engines)

    def tick(self, number: int) -> None:
        """One more publication."""
        world, listed = self.world, tickers()
        ticker = listed[number % len(listed)]
        world.frame([quote(ticker, 3.0 + number / 100, 4.0 + number / 100, T0 + 5 + number, 9 + number)])
        if number % 5 == 0:
            world.spot(7550.0 + number / 10, T0 + 6 + number)
        world.settle(self._engines)

    def shown_by(self, opened: Tab, models: tuple[str, ...] = DOCUMENTS) -> bool:
        """Whether every document of a page is the stored one."""
        if opened.error is not None:
            raise opened.error
        with opened.lock:
            return all(opened.page.documents.get(("SPX", model)) == self.world.model(model) for model in models)


@pytest.fixture
def serve(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> Iterator[Callable[..., Served]]:
    """Start a gateway with settings of the test's own."""
    with ExitStack() as stack:

        def make(**overrides: Any) -> Served:
            given = {"redis_url": redis_url, "symbols": ("SPX", "NDX"), "gateway_port": free_port(), **overrides}
            settings = make_settings(**given)
            made = stack.enter_context(serving(settings, database))
            url = f"http://127.0.0.1:{settings.gateway_port}"
            return Served(url, settings, World(database, settings), made)

        yield make


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()
