"""memory: what a contract and a retained event take in Redis, beside the size of their values.

A contract is what grows with their number: its hash, and its share of geometry, tiles and documents are told apart. An
event is a quote in an entry of the socket's stream, in frames of fifty.
"""


from walrus import Database

from consumers.calculate import CalculateStage
from consumers.models import ModelsStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.load import quote_frames, wide_chain
from pipeline.bench.market import Chain, Market, open_market
from pipeline.bench.measure import Result, Sample, ratio
from pipeline.bench.models import SPOT_USD
from pipeline.bench.near_chain import SYMBOL
from pipeline.publication import MODELS
from pipeline.registers import LEGEND
from pipeline.stage import Engine

CONTRACTS, FRAMES, PER_FRAME = 8_000, 2_000, 50


def run(bench: Bench) -> Result:
    listed = wide_chain(CONTRACTS)
    frames = quote_frames(listed, FRAMES, PER_FRAME)
    figures: dict[str, list[float]] = {}
    for repeat in range(bench.repeats):
        bench.say(f"memory: round {repeat + 1} of {bench.repeats}")
        market = open_market(bench, Chain(listed, SPOT_USD))
        found = _contract(market) | _models(market) | _event(market, frames)
        for name, value in found.items():
            figures.setdefault(name, []).append(value)
    samples = {name: Sample(tuple(values), "B") for name, values in figures.items()}
    pairs = {"contract": ("contract", "contract_values"), "event": ("event", "event_values")}
    return Result("memory", samples, {key: ratio(samples[a], samples[b]) for key, (a, b) in pairs.items()}, pairs)


def _contract(market: Market) -> dict[str, float]:
    """The hashes with everything that belongs to them, and the bytes of the values in them alone."""
    database, prefixes = market.database, market.keys.registers(market.epoch)
    names = [key for prefix in prefixes.values() for key in database.scan_iter(match=prefix + "*")]
    registers = [text for name in names for ticker, text in database.hgetall(name).items() if ticker != LEGEND.encode()]
    values = sum(len(text.replace(b"|", b"")) for text in registers)
    return {"contract": _usage(database, names) / CONTRACTS, "contract_values": values / CONTRACTS}


def _models(market: Market) -> dict[str, float]:
    """What is computed of a contract and published of it."""
    database, keys = market.database, market.keys
    engines = [
        Engine(stage, database, market.settings, f"bench-{stage.name}")
        for stage in (CalculateStage(market.settings, database), ModelsStage(market.settings, database))
    ]
    while sum(engine.step() for engine in engines):
        pass
    panes = [pane.decode() for pane in database.hkeys(keys.geometry(market.epoch))]
    tiles = [key for pane in panes for key in (keys.tiles(market.epoch, pane), keys.grids(market.epoch, pane))]
    return {
        "tiles_of_a_contract": _usage(database, tiles) / CONTRACTS,
        "documents_of_a_contract": _usage(database, [keys.model(model, SYMBOL) for model in MODELS]) / CONTRACTS,
    }


def _usage(database: Database, names: list[str]) -> float:
    return float(sum(database.memory_usage(name, samples=0) or 0 for name in names))


def _event(market: Market, frames: list[bytes]) -> dict[str, float]:
    """As the socket stage writes them."""
    database, stream = market.database, market.stream("ws")
    database.delete(stream)
    for first in range(0, len(frames), 500):
        with database.pipeline(transaction=False) as pipeline:
            for frame in frames[first : first + 500]:
                pipeline.xadd(stream, {"ts": 1787239200000, "payload": frame, "symbol": SYMBOL})
            pipeline.execute()
    events = FRAMES * PER_FRAME
    return {"event": _usage(database, [stream]) / events, "event_values": sum(map(len, frames)) / events}


BENCHMARK = Benchmark(
    "memory", "bytes of a contract and of a retained event in Redis", "the bytes of their values", {}, run,
)
