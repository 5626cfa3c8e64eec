"""A gateway in a thread of the test's, over a small world that publishes."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from walrus import Database

from consumers import gateway
from pipeline.settings import Settings
from tests.running import Running, running
from tests.waiting import wait_until
from tests.world import World


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(slots=True)
class Served:
    """A running gateway and what it serves."""

    url: str
    port: int
    world: World
    running: Running


@pytest.fixture
def served(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> Iterator[Served]:
    port = free_port()
    settings = make_settings(redis_url=redis_url, symbols=("SPX", "NDX"), gateway_port=port)
    with running("gateway", gateway.run, settings, database) as made:
        wait_until(lambda: answers(port), "the gateway")
        yield Served(f"http://127.0.0.1:{port}", port, World(database, settings), made)


