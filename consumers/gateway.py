"""gateway: reads massive:model:stream and what belongs to it, serves it to browsers: SSE, JSON and the dashboard.

It is no consumer group's: every process reads everything, keeps the last minute, and changes nothing in Redis. Run as
many as there are clients for.
"""

import asyncio
import socket

from walrus import Database

from pipeline.database import connect
from pipeline.gateway.address import address_of
from pipeline.gateway.app import Gateway
from pipeline.gateway.hub import Hub
from pipeline.gateway.serving import Server, listen
from pipeline.life import Life
from pipeline.logs import get_log
from pipeline.settings import Settings

_TURN_S = 0.1


def run(settings: Settings, database: Database, life: Life) -> None:
    """Serve until the process is told to stop. Raises OSError where the address cannot be had."""
    with listen(settings.host, settings.gateway_port) as listener:
        asyncio.run(_serve(settings, life, listener))


async def _serve(settings: Settings, life: Life, listener: socket.socket) -> None:
    url = settings.redis_url.get_secret_value()
    hub = Hub(lambda: connect(url), life.keys, settings.symbols, settings.model_retention_s)
    hub.start()
    get_log(stage="gateway").info("serving", dashboard=address_of(settings, listener.getsockname()[1]))
    stopped = asyncio.Event()
    serving = asyncio.create_task(Server(Gateway(hub, life.fault).app(), listener).until(stopped))
    life.unready("")
    while not life.stop.is_set() and not serving.done():
        await asyncio.to_thread(life.progress)
        await asyncio.sleep(_TURN_S)
    hub.close()
    stopped.set()
    await serving
