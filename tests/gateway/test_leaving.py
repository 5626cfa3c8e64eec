"""How a gateway ends what it has begun."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from walrus import Database

from pipeline.database import connect
from pipeline.gateway.replays import Replays
from pipeline.keys import Keys
from pipeline.settings import Settings

STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"


def test_replays_that_do_not_listen_do_not_hold_it(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> None:
    settings = make_settings(redis_url=redis_url)

    async def close() -> float:
        replays = Replays(partial(connect, redis_url), settings, Keys(settings.layout, settings.namespace))
        children = []
        for name in ("one", "other"):
            child = await asyncio.create_subprocess_exec("sh", "-c", STUBBORN, stdout=asyncio.subprocess.PIPE)
            assert child.stdout is not None
            await child.stdout.readline()
            replays._running[name] = child
            children.append(child)
        asked = time.monotonic()
        await replays.close()
        took = time.monotonic() - asked
        for child in children:
            await child.communicate()
            assert child.returncode == -9
        return took

    assert asyncio.run(close()) < 2.5
