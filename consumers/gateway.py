"""gateway: reads massive:model:stream and what belongs to it, serves it to browsers: SSE, JSON and the dashboard.

It is no consumer group's: every process reads everything, keeps the last minute, and changes nothing in Redis. Run as
many as there are clients for.
"""

import asyncio
import socket
from functools import partial

from walrus import Database

from pipeline.database import check_one_node, connect
from pipeline.gateway.address import address_of, check_access
from pipeline.gateway.app import Gateway
from pipeline.gateway.hub import Hub
from pipeline.gateway.replays import Replays
from pipeline.gateway.serving import Server, listen
from pipeline.life import Life
from pipeline.logs import get_log
from pipeline.settings import Settings

_TURN_S = 0.1


def run(settings: Settings, database: Database, life: Life) -> None:
    """Serve until the process is told to stop. Raises SettingsError where it would be open to others, OSError where the
    address cannot be had, and ServerError: see check_one_node."""
    check_access(settings)
    if settings.layout == "tagged":
        check_one_node(database, life.keys.streams("model", settings.symbols))
    with listen(settings.host, settings.gateway_port) as listener:
        asyncio.run(_serve(settings, life, listener))


async def _serve(settings: Settings, life: Life, listener: socket.socket) -> None:
    opened = partial(connect, settings.redis_url.get_secret_value())
    hub = Hub(opened, life.keys, settings.symbols, settings.model_retention_s)
    replays = Replays(opened, settings, life.keys)
    server = Server(
        Gateway(hub, replays, settings, life.fault).app(), listener, ssl_certfile=settings.gateway_tls_cert,
        ssl_keyfile=settings.gateway_tls_key,
    )
    hub.start()
    serving = asyncio.create_task(server.serve())
    get_log(stage="gateway").info("serving", dashboard=address_of(settings, listener.getsockname()[1]))
    while not life.stop.is_set() and not serving.done():
        life.unready("" if hub.reads else "redis")
        await asyncio.to_thread(life.progress)
        await asyncio.sleep(_TURN_S)
    hub.close()
    server.should_exit = True
    await serving
    await replays.close()
