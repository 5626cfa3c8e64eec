"""G7: the models under a frozen clock and under a wild one, byte for byte."""

import datetime as datetimes
import importlib
import itertools
import pkgutil
import time

import orjson
import pytest

import pipeline.models
from pipeline.models.pane import calculate
from pipeline.models.symbol import symbol_models

from .real_chains import SPX_2026, load
from .smiling_chains import AS_OF_MS, MONDAY, SmilingPane, smiling_pane
from .test_symbol import record

CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time")
MODULES = [
    importlib.import_module(f"pipeline.models.{found.name}") for found in pkgutil.iter_modules(pipeline.models.__path__)
]


def turn(monkeypatch, seconds):
    """Every clock that Python code can ask says the next of ``seconds``."""
    ticks = iter(seconds)

    class Turned(datetimes.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(next(ticks), tz)

        utcnow = today = now

    class TurnedDate(datetimes.date):
        @classmethod
        def today(cls):
            return Turned.now().date()

    for name in CLOCKS:
        scale = 10**9 if name.endswith("_ns") else 1
        monkeypatch.setattr(time, name, lambda scale=scale: next(ticks) * scale)
    for name in ("gmtime", "localtime", "ctime"):
        monkeypatch.setattr(time, name, lambda *_: next(ticks))
    for module in MODULES:
        for name, fake in (("datetime", Turned), ("date", TurnedDate)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, fake)


def everything(panes, spot, as_of_ms):
    """Every number of every model, as bytes."""
    exposures = [pane.exposure() for pane in panes]
    made = [calculate(pane.geometry, pane.values) for pane in panes]
    arrays = [array for found in exposures
              for array in (found.v, found.gex, found.vanna, found.charm, found.profile, found.sums)]
    grids = [grid for model in made for grid in model.grids.values()]
    return b"".join([
        orjson.dumps(record(symbol_models(exposures, spot, as_of_ms))),
        *(orjson.dumps(model.head) for model in made), *(array.tobytes() for array in arrays + grids),
    ])  # fmt: skip


@pytest.mark.parametrize("real", [False, True], ids=["smiling", "recorded"])
def test_g7_a_frozen_and_a_wild_clock_give_the_same_bytes(monkeypatch, real):
    if real:
        panes = [SmilingPane(pane.geometry, pane.values) for pane in load(SPX_2026)[:4]]
        spot, as_of_ms = panes[0].values.spot, panes[0].values.as_of_ms
    else:
        panes = [smiling_pane(), smiling_pane(root="SPX"), smiling_pane(expiration=MONDAY)]
        spot, as_of_ms = 5000.0, AS_OF_MS
    plain = everything(panes, spot, as_of_ms)
    with monkeypatch.context() as frozen:
        turn(frozen, itertools.repeat(0))
        assert everything(panes, spot, as_of_ms) == plain
    with monkeypatch.context() as wild:
        turn(wild, itertools.cycle([4_000_000_000, 5, 2_000_000_000, 1, 1_700_000_000]))
        assert everything(panes, spot, as_of_ms) == plain
