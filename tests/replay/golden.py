"""The golden session: ``golden.msw`` and the digests of what it ends in, ``golden.json``.

A change of any formula or constant changes digests: look at the difference (`marketswarm diff`), and renew them
with ``REDIS_URL=... python -m tests.replay.golden``. ``--session`` makes the session anew as well.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr
from walrus import Database

from pipeline.database import connect
from pipeline.replay.feed import CORE, Feed
from pipeline.replay.hands import InProcess
from pipeline.replay.namespace import About, drop
from pipeline.replay.session_file import read_session, write_session
from pipeline.replay.window import read_window
from pipeline.settings import Settings
from tests.replay.sessions import Session, now_ms
from tests.world import STAGES, World

SESSION, DIGESTS = Path(__file__).with_name("golden.msw"), Path(__file__).with_name("golden.json")


def digests(database: Database, settings: Settings, name: str = "golden") -> dict[str, str]:
    """SHA-256 of every document and of the contracts, as a replay of the session ends."""
    window = read_session(SESSION)
    own = window.settings_of(settings, name)
    about = About(database, name)
    about.begin(window, "replay", "max", SESSION.name)
    Feed(window, own, database, InProcess(own, database, dict.fromkeys(CORE, 1)), about).run()
    final = World(database, own).final()
    drop(database, name)
    named: dict[str, Any] = {**final["documents"], "contracts": final["contracts"]}
    return {
        model: hashlib.sha256(orjson.dumps(of, option=orjson.OPT_SORT_KEYS)).hexdigest() for model, of in named.items()
    }


def make_session(database: Database, settings: Settings) -> None:
    world = World(database, settings)
    engines = [world.engine(stage, batch_max=8) for stage in STAGES]
    for _ in Session(world, 1, 320, batch=20).moves():
        for engine in engines:
            engine.step()
    world.settle(engines)
    SESSION.unlink(missing_ok=True)
    write_session(read_window(database, world.keys, "SPX", 0, now_ms(database), settings), SESSION)


if __name__ == "__main__":
    url = os.environ["REDIS_URL"]
    redis = connect(url)
    if redis.dbsize():
        sys.exit("REDIS_URL: the database must be empty")
    given = Settings(REDIS_URL=SecretStr(url), symbols=("SPX",), scope="full", widths={"SPX": (20.0, 40.0)},
                     greeks_interval_s=0)
    if "--session" in sys.argv:
        make_session(redis, given)
        redis.flushdb()
    DIGESTS.write_bytes(orjson.dumps(digests(redis, given), option=orjson.OPT_INDENT_2) + b"\n")
    redis.flushdb()
