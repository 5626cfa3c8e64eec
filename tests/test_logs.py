"""One line an event, with what it is about; none a tick."""

import json
import subprocess
import sys

from structlog.testing import capture_logs
from walrus import Database

from pipeline.settings import Settings
from tests.cli.run import ROOT, environment
from tests.world import STAGES, T0, World, quote, row, tickers


def test_an_epoch_and_a_buried_entry_are_a_line_each_and_ticks_are_none(database: Database, settings: Settings) -> None:
    world = World(database, settings)
    with capture_logs() as said:
        engines = [world.engine(stage) for stage in STAGES]
        chain = world.chain([row(ticker) for ticker in tickers()])
        world.settle(engines)
        for number in range(20):
            world.frame([quote(tickers()[0], 10 + number / 10, 12 + number / 10, T0 + 1000 + number, number)])
            world.settle(engines)
        epoch = database.hget(world.keys.epoch_active("SPX"), "SPX").decode()
        bad = database.xadd(world.keys.stream("diff", "SPX"), {"symbol": "SPX", "epoch": epoch, "ts": "noon"}).decode()
        world.settle(engines)
    promoted, buried = said
    assert promoted["event"] == "promoted"
    assert {name: promoted[name] for name in ("stage", "symbol", "epoch", "entry", "contracts")} == {
        "stage": "normalize", "symbol": "SPX", "epoch": epoch, "entry": chain, "contracts": len(tickers()),
    }
    assert buried["event"] == "entry buried"
    assert {name: buried[name] for name in ("stage", "symbol", "epoch", "entry")} == {
        "stage": "models", "symbol": "SPX", "epoch": epoch, "entry": bad,
    }


def test_json_is_an_option() -> None:
    code = "from pipeline.logs import *; configure_logs(); get_log(stage='models').error('buried', entry='1-0')"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment(MASSIVE_LOG="json"), cwd=ROOT, capture_output=True, check=True,
        timeout=60,
    )
    line = json.loads(answer.stderr)
    assert (line["event"], line["level"], line["stage"], line["entry"]) == ("buried", "error", "models", "1-0")
    assert line["timestamp"].endswith("Z")
