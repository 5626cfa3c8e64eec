"""The connection to Redis or Valkey, opened the way every stage needs it, and the server checked before use."""

from collections.abc import Callable
from urllib.parse import urlsplit

from redis import ConnectionPool
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from walrus import Database

from pipeline.settings import Settings, SettingsError

SOCKET_TIMEOUT_S = 7.0  # the longest BLOCK (2 s) and five seconds for the server: else blocking reads never return


class ServerError(RuntimeError):
    """A server that must not be used; the message says what to change."""


def connect(url: str, on_connect: Callable[[], None] | None = None) -> Database:
    """A client on its own pool; nothing is sent yet. Raises SettingsError for an address that cannot be one.

    ``on_connect`` is told of every connection it opens: the client opens another by itself where one was lost.
    """

    def opened(connection: AbstractConnection) -> None:
        connection.on_connect()  # type: ignore[no-untyped-call]
        if on_connect is not None:
            on_connect()

    try:
        pool = ConnectionPool.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=5.0, health_check_interval=30, protocol=2,
            redis_connect_func=opened if on_connect else None,
        )
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    return Database(connection_pool=pool, script_dir=False)


def connect_checked(settings: Settings) -> Database:
    """Connect and refuse a server that would lose work. Raises ServerError with one line."""
    url = settings.redis_url.get_secret_value()
    if not url:
        raise SettingsError("REDIS_URL: not set (`marketswarm up` sets it for the stages it starts)")
    database = connect(url)
    fault = server_fault(database, url)
    if fault:
        raise ServerError(fault)
    return database


def answers(database: Database, within_s: float = 2.0) -> bool:
    """Whether the server answers now, asked on a connection of its own: those of the pool may all be waiting."""
    pool = database.connection_pool
    given = {**pool.connection_kwargs, "socket_timeout": within_s, "socket_connect_timeout": within_s, "retry": None}
    connection = pool.connection_class(**given)
    try:
        connection.connect()
        connection.send_command("PING")
        connection.read_response()
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return False
    except RedisError:
        return True  # it refuses, and so it answers
    finally:
        connection.disconnect()
    return True


def server_fault(database: Database, url: str) -> str:
    """What is wrong with the server, in one line, or an empty string."""
    try:
        server = database.info("server")
        memory = database.info("memory")
    except RedisConnectionError as error:
        return f"no Redis at {shown(url)}: {type(error).__name__}"
    except RedisError as error:
        return f"Redis at {shown(url)} refuses: {error}"
    if "valkey_version" in server:
        if version_of(server["valkey_version"]) < (8,):
            return f"Valkey {server['valkey_version']} is too old: 8 or later is needed"
    elif version_of(server["redis_version"]) < (7,):
        return f"Redis {server['redis_version']} is too old: 7.0 or later is needed"
    policy = memory["maxmemory_policy"]
    if policy != "noeviction":
        return f"maxmemory-policy is {policy}: with it Redis may drop marks and contracts; set it to noeviction"
    return ""


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split(".")[:3] if part.isdigit())


def shown(url: str) -> str:
    """An address without its password, for people to read."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"
