"""The whole real SPX chain of 2026-08-20 through the provider's protocol and every stage; then one tick."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from walrus import Database

from consumers.chain import ChainStage
from consumers.keeper import Keeper
from pipeline.cboe import CboeChain, read_chain
from pipeline.contract import parse_ticker
from pipeline.provider.rest import Rest
from pipeline.scripts import Call, Conversation, Scripts
from pipeline.settings import Settings
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.stage import Engine
from tests.world import STAGES, World, quote

SPOT = 7641.1602
STRATEGIES = ("single", "vertical", "butterfly")


@pytest.fixture(scope="module")
def chain_file(shared_data: Path) -> Path:
    return shared_data / "data" / "cboe_spx_2026-08-20_close.csv.gz"


@pytest.fixture(scope="module")
def listed(chain_file: Path) -> CboeChain:
    return read_chain(chain_file, spot=SPOT)


@pytest.fixture
def provider(chain_file: Path) -> Iterator[Simulator]:
    with Simulator(SimulatorSettings(chain=chain_file, chain_spot=SPOT, rate=0.0, clock_speed=0.0)) as simulator:
        yield simulator


def fetch(world: World) -> None:
    """The chain's way in: the keeper's job, the provider's pages, the stage that announces them."""
    settings = world.settings
    stop = threading.Event()
    with Rest(
        settings.rest_url, settings.api_key, timeout_s=settings.rest_timeout_s,
        requests_per_s=settings.rest_requests_per_s, stop=stop,
    ) as rest:
        stage = ChainStage(settings, world.database, world.keys, rest, stop)
        engine = Engine(stage, world.database, settings, "chain-1")
        Keeper(settings, world.database).schedule()
        while engine.step():
            pass


class WatchedScripts(Scripts):
    """The real scripts; ``most`` is the greatest call of each: contracts it names, or bytes that it brings."""

    def __init__(self, scripts: Scripts, most: dict[str, int]) -> None:
        super().__init__(scripts._database)
        self._most = most

    def _watch(self, name: str, arguments: Mapping[str, Any]) -> None:
        size = 0
        match name:
            case "stage" | "refresh":
                size = sum(len(of["tickers"]) for of in arguments["panes"])
            case "hydrate":
                size = sum(len(of["quotes"]["tickers"]) for section in arguments["sections"] for of in section["panes"])
            case "read_values":
                size = len(arguments["tickers"])
            case "publish":
                size = sum(
                    len(document["payload"]) + sum(map(len, document["patches"][1::2]))
                    for document in arguments["documents"]
                )
        self._most[name] = max(self._most.get(name, 0), size)

    def run(self, name: str, keys: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        self._watch(name, arguments)
        return super().run(name, keys, arguments)

    @contextmanager
    def conversation(self) -> Iterator[Conversation]:
        with super().conversation() as server:
            send = server.send

            def watched(call: Call) -> None:
                self._watch(call.script, call.arguments)
                send(call)

            server.send = watched
            yield server


def tile_values(document: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """(pane, strategy, side, pricing, strike index, width index) -> value, of a heatmap document."""
    values = {}
    for pane, block in document["panes"].items():
        for strategy in STRATEGIES:
            for side in ("call", "put"):
                for pricing, rows in block[strategy][side].items():
                    for index, cells in enumerate(rows):
                        for width, value in enumerate(cells if isinstance(cells, list) else [cells]):
                            values[pane, strategy, side, pricing, index, width] = value
    return values


def test_the_whole_real_chain_is_one_epoch_and_a_tick_moves_its_own_tiles_only(
    provider: Simulator, listed: CboeChain, database: Database, redis_url: str, make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(
        redis_url=redis_url, symbols=("SPX",), scope="full", rest_url=provider.url, ws_url=provider.socket_url,
        api_key="test", block_ms=10,
    )
    world = World(database, settings)
    fetch(world)
    engines = [world.engine(stage) for stage in STAGES]
    most: dict[str, int] = {}
    for engine in engines:
        engine.stage.scripts = WatchedScripts(engine.stage.scripts, most)
    world.settle(engines)

    contracts = set(world.contracts())
    assert contracts == {str(ticker) for ticker in listed.ticker}
    assert len(contracts) == 30_282
    assert database.hgetall(world.keys.epoch_active("SPX")).keys() == {b"SPX"}
    before = world.model("heatmap")
    assert before["coverage"] > 0.9
    roots = {pane["settlement"]: set() for pane in before["panes"].values()}
    for pane in before["panes"].values():
        roots[pane["settlement"]].add(pane["root"])
    assert roots == {"AM": {"SPX"}, "PM": {"SPXW"}}
    shared_days = {day for day, root in (name.split(":") for name in before["panes"]) if root == "SPX"}
    assert any(f"{day}:SPXW" in before["panes"] for day in shared_days), "AM and PM stand apart on the same day"
    for name in ("gex", "gex_calls", "gex_puts"):
        assert world.model(name)["epoch"] == before["epoch"]

    day = next(name for name in before["panes"] if name.endswith(":SPXW"))
    ticker = f"O:SPXW{day[2:4]}{day[5:7]}{day[8:10]}C07640000"
    held = world.contract(ticker)
    tick = quote(ticker, float(held["bid"]) + 5, float(held["ask"]) + 5, int(held["quote_ts"]) + 1, 1)
    world.frame([tick])
    world.settle(engines)
    after = world.model("heatmap")
    old, new = tile_values(before), tile_values(after)
    moved = {tile for tile in new if new[tile] != old[tile]}
    assert moved == _tiles_of(ticker, before), "the tiles that have the contract as a leg, and no others"

    burst = sorted(contracts)[:12_000]
    quoted = [quote(ticker, 5.0, 5.5 + number % 7 / 10, tick["t"] + 1, number) for number, ticker in enumerate(burst)]
    for first in range(0, len(quoted), 50):
        world.frame(quoted[first : first + 50])
    world.settle(engines)
    versions = world.model("heatmap")["version"] - after["version"]
    assert versions > 3, "so much is published in parts"
    bounds = {"stage": 400, "read_values": 500, "hydrate": 1000 + 50, "publish": 2 * 1024 * 1024}
    assert {name: size for name, size in most.items() if name in bounds and size > bounds[name]} == {}
    assert all(most[name] > bound // 4 for name, bound in bounds.items()), "bounds that calls came near to"


def _tiles_of(ticker: str, document: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Every priced tile of the document that has this contract as a leg, worked out strike by strike."""
    said = parse_ticker(ticker)
    strikes = document["panes"][said.pane]["strikes"]
    block, sign = document["panes"][said.pane], 1 if said.side == "call" else -1
    tiles: set[tuple[Any, ...]] = set()
    for index, strike in enumerate(strikes):
        for pricing in ("mid", "buy", "sell"):
            if strike == said.strike:
                tiles.add((said.pane, "single", said.side, pricing, index, 0))
            for column, width in enumerate(document["widths"]):
                legs = {
                    "vertical": (strike, strike + sign * width),
                    "butterfly": (strike - width, strike, strike + width),
                }
                for strategy, needed in legs.items():
                    if said.strike in needed and block[strategy][said.side][pricing][index][column] is not None:
                        tiles.add((said.pane, strategy, said.side, pricing, index, column))
    return tiles
