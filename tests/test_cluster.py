"""A real Redis Cluster of three masters: each underlying lives on the node that owns its slot, and on no other."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from consumers import gateway, models
from pipeline.database import ServerError, connect, connect_checked
from pipeline.keys import Keys
from pipeline.life import Life
from pipeline.server import Binary, find_binaries
from pipeline.settings import Settings
from tests.properties import reference
from tests.test_scaling import RUNS, Crew, assert_each_version_once
from tests.waiting import wait_until
from tests.world import T0, World, quote, row, tickers

MASTERS = 3
SLOTS = 16384
SYMBOLS = ("SPX", "NDX")
ROOTS = {"SPX": "SPXW", "NDX": "NDXP"}


def free_port() -> int:
    """One whose bus port, 10,000 above, is a port as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            if (port := int(probe.getsockname()[1])) < 55_000:
                return port


class Cluster:
    """Masters alone: what one holds is away while it is away, and there again when it is back."""

    def __init__(self, folder: Path, binary: Binary) -> None:
        self._folder = folder
        self._binary = binary
        self.ports = [free_port() for _ in range(MASTERS)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        for number, port in enumerate(self.ports):
            self.start(port)
            first, last = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1
            self.node(port).execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for port in self.ports[1:]:
            self.node(self.ports[0]).execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        wait_until(lambda: all(self._whole(port) for port in self.ports), "the cluster", 60)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def start(self, port: int) -> None:
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        self._processes[port] = subprocess.Popen(
            [self._binary.path, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes",
             "--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--maxmemory-policy",
             "noeviction", "--logfile", folder / "log"],
        )
        wait_until(lambda: self._answers(port), "a node", 30)

    def kill(self, port: int) -> None:
        self._processes[port].kill()
        self._processes[port].wait()

    def node(self, port: int) -> Redis:
        return Redis(port=port, decode_responses=True)

    def owner(self, key: str) -> int:
        """The port of the node that holds a key."""
        slot = int(self.node(self.ports[0]).execute_command("CLUSTER", "KEYSLOT", key))
        return self.ports[slot * MASTERS // SLOTS]

    def url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def _answers(self, port: int) -> bool:
        with suppress(RedisError):
            return bool(self.node(port).ping())
        return False

    def _whole(self, port: int) -> bool:
        info = self.node(port).execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(MASTERS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    binary = next(iter(find_binaries()), None)
    if binary is None:
        pytest.skip("no server binary here")
    with Cluster(tmp_path_factory.mktemp("cluster"), binary) as cluster:
        yield cluster


@pytest.mark.timeout(240)
def test_each_underlying_runs_on_its_own_node_and_survives_its_masters_death(
    cluster: Cluster, make_settings: Callable[..., Settings]
) -> None:
    owners = {symbol: cluster.owner(Keys("tagged").spot(symbol)) for symbol in SYMBOLS}
    assert owners["SPX"] != owners["NDX"]
    stranger = next(port for port in cluster.ports if port not in owners.values())
    listed = {symbol: tickers(ROOTS[symbol], strikes=range(7500, 7605, 20)) for symbol in SYMBOLS}
    rows = {
        symbol: [row(one, bid=10 + number, ask=11 + number) for number, one in enumerate(listed[symbol])]
        for symbol in SYMBOLS
    }
    with ExitStack() as stack:
        worlds, crews = {}, {}
        for symbol in SYMBOLS:
            # Every process is told of a node that holds none of its keys, and finds the one that does.
            settings = make_settings(
                redis_url=cluster.url(stranger), symbols=(symbol,), layout="tagged", block_ms=50, batch_max=4
            )
            world = worlds[symbol] = World(connect(cluster.url(stranger)), settings)
            crew = crews[symbol] = stack.enter_context(Crew(settings, world.database, RUNS, symbol))
            for stage in RUNS:
                crew.hire(stage, 2)
            world.chain(rows[symbol], symbol=symbol)
        for symbol, world in worlds.items():
            wait_until(lambda: world.epoch(symbol), f"the epoch of {symbol}", 60)  # noqa: B023
        sent = {symbol: send(worlds[symbol], symbol, listed[symbol], range(1, 60)) for symbol in SYMBOLS}
        cluster.kill(owners["SPX"])
        sent["NDX"] += send(worlds["NDX"], "NDX", listed["NDX"], range(60, 90))
        wait_until(crews["NDX"].rests, "NDX, which nothing has befallen", 60)
        cluster.start(owners["SPX"])
        wait_until(lambda: written(worlds["SPX"]), "SPX's node", 60)
        sent["SPX"] += send(worlds["SPX"], "SPX", listed["SPX"], range(60, 90))
        for symbol, crew in crews.items():
            wait_until(crew.rests, f"the end of all work on {symbol}", 90)
    for symbol, world in worlds.items():
        holder = World(connect(cluster.url(owners[symbol])), world.settings)
        contracts = reference.fold(rows[symbol], T0, sent[symbol])
        assert holder.contracts(symbol) == contracts
        made = reference.documents(
            symbol, contracts, T0, [(T0, 7550.0)], world.settings.widths_of(symbol), world.settings.rate
        )
        assert holder.final(symbol)["documents"] == made
        assert_each_version_once(holder, symbol)
        tag = holder.keys.spot(symbol).partition(":")[0]
        held = {port: len(cluster.node(port).keys(f"{tag}*")) for port in cluster.ports}
        assert {port for port, keys in held.items() if keys} == {owners[symbol]}


def test_a_process_that_would_have_to_read_two_nodes_is_refused(
    cluster: Cluster, make_settings: Callable[..., Settings]
) -> None:
    options = {"redis_url": cluster.url(cluster.ports[0]), "symbols": SYMBOLS}
    with pytest.raises(ServerError, match="wants MASSIVE_LAYOUT=tagged"):
        connect_checked(make_settings(**options))
    settings = make_settings(layout="tagged", **options)
    database = connect_checked(settings)
    for stage in (models, gateway):
        with pytest.raises(ServerError, match="once for each"):
            stage.run(settings, database, Life(stage.__name__.rpartition(".")[2], settings, database))


def send(world: World, symbol: str, listed: list[str], numbers: range) -> list[dict[str, object]]:
    events = [
        quote(listed[number % len(listed)], 5 + number / 10, 6 + number / 10, T0 + 100 * number, number)
        for number in numbers
    ]
    for event in events:
        world.frame([event], symbol)
    return events


def written(world: World) -> bool:
    with suppress(RedisError, OSError):
        return bool(world.database.set(world.keys.stream("ws", "SPX") + ":probe", 1, ex=1))
    return False
