"""Who does the work of a replay: the stages in this process, turn by turn, or as processes of their own."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from honcho.printer import Printer
from walrus import Database

from consumers.calculate import CalculateStage
from consumers.hydrate import HydrateStage
from consumers.models import ModelsStage
from consumers.normalize import NormalizeStage
from consumers.vexy import VexyStage
from consumers.vigil import VigilStage
from pipeline.replay.feed import StuckError
from pipeline.settings import Settings
from pipeline.stage import Engine, Stage
from pipeline.supervisor import Supervisor

STAGES: Mapping[str, Callable[[Settings, Database], Stage]] = {
    "normalize": NormalizeStage, "hydrate": HydrateStage, "calculate": CalculateStage, "models": ModelsStage,
    "vigil": VigilStage, "vexy": VexyStage,
}
"""Stages that a replay may run: the others speak with the provider, or keep a clock."""
_TAKING = ("normalize", "hydrate")
_MAKE_S = 0.5
"""While there is more to take in, models are made so often and no more: what is about to change needs none."""
_IDLE_S = 0.005
_DEATHS_MAX = 5
_GRACE_S = 10.0


class InProcess:
    """The stages in this process, one turn after the other."""

    def __init__(self, settings: Settings, database: Database, scale: Mapping[str, int]) -> None:
        self.names: Sequence[str] = [stage for stage, number in scale.items() if number]
        self._taking, self._making = (
            [
                Engine(STAGES[stage](settings, database), database, settings, f"{stage}-{number}")
                for stage, consumers in scale.items() for number in range(1, consumers + 1)
                if (stage in _TAKING) is taking
            ]
            for taking in (True, False)
        )
        self._made_at = time.monotonic()

    def turn(self, wait_s: float) -> bool:
        moved = sum(engine.step() for engine in self._taking)
        if not moved or time.monotonic() - self._made_at > _MAKE_S:
            moved += sum(engine.step() for engine in self._making)
            self._made_at = time.monotonic()
        if not moved and wait_s:
            time.sleep(min(wait_s, _IDLE_S))
        return moved > 0

    def close(self) -> None:
        """Nothing is left behind: engines hold no more than a connection."""


class Processes:
    """A worker process for each consumer, started again when it dies."""

    def __init__(self, settings: Settings, url: str, scale: Mapping[str, int], printer: Printer) -> None:
        self.names: Sequence[str] = [stage for stage, number in scale.items() if number]
        self._supervisor = Supervisor(printer)
        self._workers = [f"{stage}.{number}" for stage, count in scale.items() for number in range(1, count + 1)]
        for worker in self._workers:
            stage = worker.partition(".")[0]
            self._supervisor.add(worker, f"marketswarm worker {stage}", environment_of(settings, url))
            self._supervisor.start(worker)

    @property
    def pids(self) -> dict[str, int]:
        return self._supervisor.pids()

    def turn(self, wait_s: float) -> bool:
        self._supervisor.turn(wait_s)
        deaths = Counter({worker: self._supervisor.deaths(worker) for worker in self._workers})
        for worker, times in deaths.items():
            if times > _DEATHS_MAX:
                raise StuckError(f"{worker} ends again and again; it says why above")
        return False

    def close(self) -> None:
        self._supervisor.stop(self._workers, _GRACE_S, lambda: False)
        self._supervisor.close()


def environment_of(settings: Settings, url: str) -> dict[str, str]:
    """What makes a worker one of the replay's. It gets no key: it speaks with no provider."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MASSIVE_API_KEY", "PORT")}
    (symbol,) = settings.symbols
    widths = ",".join(f"{width:.17g}" for width in settings.widths_of(symbol))
    return environment | {
        "REDIS_URL": url, "MASSIVE_NAMESPACE": settings.namespace, "MASSIVE_LAYOUT": settings.layout,
        "MASSIVE_SYMBOLS": symbol, "MASSIVE_SCOPE": settings.scope, "MASSIVE_SCOPE_DAYS": str(settings.scope_days),
        "MASSIVE_SCOPE_STRIKES": repr(settings.scope_strikes), "MASSIVE_RATE": repr(settings.rate),
        "MASSIVE_WIDTHS": f"{symbol}={widths}", "MASSIVE_DATA_DIR": str(settings.data_dir), "PYTHONUNBUFFERED": "1",
    }
