"""Publications by hand, and consumers that fold them under deaths, resent calls and takeovers."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from walrus import Database

from pipeline.folding import Seen
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.stage import Engine, Stage
from tests.properties.chaos import ChaosScripts, DiedError
from tests.world import T0

EPOCH = f"SPX:{T0}:abcdef"


def header(ts: int = T0, spot: float | None = 7550.0, **more: Any) -> dict[str, Any]:
    minute = ts // 60_000 * 60_000
    return {
        "symbol": "SPX", "epoch": EPOCH, "version": 1, "ts": minute, "spot": spot, "status": "live", "coverage": 0.9,
        "as_of": {"quotes": minute, "chain": T0, "spot": minute, "oi_date": "2026-08-19"}, **more,
    }


def levels(flip: float | None = 7500.0, call: float | None = 7600.0, put: float | None = 7400.0) -> dict[str, Any]:
    return {
        "flip": {"value": flip, "reason": None if flip else "no_root", "sign": 1, "roots": [flip] if flip else []},
        "call_wall": call, "put_wall": put, "max_pain": 7525.0, "expected_move": 45.0, "front": "2026-08-21:SPXW",
    }


def seen(model: str, version: int, ts: int = T0, epoch: str = EPOCH, kind: str = "full", **body: Any) -> Seen:
    head = header(ts, version=version, epoch=epoch)
    return Seen("SPX", model, kind, epoch, version, ts, {**head, **body})


class Feed:
    """The model stream and the epoch stream of one Redis, written by hand, and consumers of one stage."""

    def __init__(self, database: Database, settings: Settings, make: Callable[[Settings, Database], Stage]) -> None:
        self.database = database
        self.settings = settings
        self.keys = Keys(settings.layout, settings.namespace)
        self._make = make
        self._hired = 0
        self.calls = 0
        self.deaths = 0

    def publish(self, model: str, version: int, ts: int = T0, symbol: str = "SPX", **body: Any) -> str:
        epoch = EPOCH.replace("SPX", symbol)
        payload = {**header(ts, version=version, symbol=symbol, epoch=epoch), **body}
        return self.append(
            "model", symbol, model=model, kind="full", epoch=epoch, version=version, base=version - 1, seq="{}", ts=ts,
            origin="1-1", payload=orjson.dumps(payload),
        )

    def append(self, noun: str, symbol: str = "SPX", **fields: Any) -> str:
        return str(self.database.xadd(self.keys.stream(noun, symbol), {"symbol": symbol, **fields}).decode())

    def engine(self, plan: Mapping[int, str] | None = None, others: Callable[[], None] = lambda: None) -> Engine:
        self._hired += 1
        stage = self._make(self.settings, self.database)
        engine = Engine(stage, self.database, self.settings, f"{stage.name}-{self._hired}")
        stage.reclaim_idle_ms = 1

        def decide(_name: str) -> str:
            self.calls += 1
            return (plan or {}).get(self.calls, "")

        stage.scripts = ChaosScripts(Scripts(self.database), decide, others)
        return engine

    def settle(self, consumers: int = 1, plan: Mapping[int, str] | None = None) -> None:
        """Turn everybody until nothing moves and nothing is pending."""
        depth = [0]

        def others() -> None:
            if depth[0] < 2:
                depth[0] += 1
                try:
                    turn((self.calls * 7) % consumers)
                finally:
                    depth[0] -= 1

        def turn(index: int) -> int:
            try:
                return engines[index].step()
            except DiedError:
                self.deaths += 1
                engines[index] = self.engine(plan, others)
                return 1

        engines = [self.engine(plan, others) for _ in range(consumers)]
        quiet = 0
        for _ in range(3000):
            moved = sum(turn(index) for index in range(consumers))
            quiet = 0 if moved or self.pending(engines[0]) else quiet + 1
            if quiet >= 2:
                return
        raise AssertionError("the consumers do not come to rest")

    def pending(self, engine: Engine) -> int:
        streams = engine.stage.streams()
        return sum(self.database.xpending(stream, engine.stage.name)["pending"] for stream in streams)

    def rows(self, key: str) -> list[dict[str, str]]:
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in self.database.xrange(key)
        ]
