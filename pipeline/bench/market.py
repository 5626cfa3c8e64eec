"""A market on the benchmark's server: one underlying's chain, promoted by the stage that does it, and its tape."""

from collections.abc import Sequence
from dataclasses import dataclass

from walrus import Database

from consumers.normalize import NormalizeStage
from pipeline.bench.benchmark import Bench
from pipeline.bench.load import wide_chain
from pipeline.bench.models import SPOT_USD
from pipeline.bench.near_chain import SYMBOL, Listed, announce, near_chain
from pipeline.bench.tape import Tape
from pipeline.keys import Keys
from pipeline.settings import Settings
from pipeline.stage import Engine


@dataclass(frozen=True, slots=True)
class Chain:
    """What is listed, and where spot is."""

    listed: Sequence[Listed]
    spot: float


def small() -> Chain:
    """About 3,000 contracts near the money, in some fifteen panes."""
    return Chain(*near_chain())


def large() -> Chain:
    """30,000 contracts in sixty panes."""
    return Chain(wide_chain(30_000), SPOT_USD)


@dataclass(frozen=True, slots=True)
class Market:
    """An active epoch of one chain on an otherwise empty database. No stage is running."""

    settings: Settings
    keys: Keys
    database: Database
    tape: Tape
    epoch: str

    def stream(self, noun: str) -> str:
        return self.keys.stream(noun, SYMBOL)


def open_market(bench: Bench, chain: Chain, deferring: bool = False) -> Market:
    """With ``deferring`` greeks wait for more ticks, as they do where ticks come in their own time; else everything is
    due at once, so that what is measured is all that there is to do."""
    bench.fresh()
    overrides = {} if deferring else {"greeks_interval_s": 0.0}
    database, settings = bench.database(), bench.settings(symbols=(SYMBOL,), scope="full", **overrides)
    keys = Keys(settings.layout, settings.namespace)
    announce(database, settings, chain.listed, chain.spot)
    engine = Engine(NormalizeStage(settings, database), database, settings, "bench-normalize")
    while engine.step():
        pass
    epoch = (database.hget(keys.epoch_active(SYMBOL), SYMBOL) or b"").decode()
    return Market(settings, keys, database, Tape(chain.listed, chain.spot), epoch)
