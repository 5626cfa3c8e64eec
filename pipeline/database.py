"""The connection to Redis or Valkey, opened the way every stage needs it, and the server checked before use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from walrus import Database

from pipeline.settings import Settings, SettingsError

SOCKET_TIMEOUT_S = 7.0  # the longest BLOCK (2 s) and five seconds for the server: else blocking reads never return


class ServerError(RuntimeError):
    """A server that must not be used; the message says what to change."""


class Moved(RedisConnectionError):
    """The keys of a command are another node's: nothing was done, and the next connection goes there."""


@dataclass(slots=True)
class Owner:
    """The node of a Redis Cluster that a pool's connections go to. Without an address it is the one that was named."""

    address: tuple[str, int] | None = None


class _Following:
    """A connection that goes where a cluster sends it. The keys of an underlying share a slot (MASSIVE_LAYOUT=tagged),
    so that a process that serves one underlying goes on with one node, and with its successor when that fails."""

    host: str
    port: int

    def __init__(self, *args: Any, owner: Owner, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._named = self.host, self.port
        self._owner = owner

    def _connect(self) -> Any:
        self.host, self.port = self._owner.address or self._named
        try:
            return super()._connect()  # type: ignore[misc]
        except OSError:
            self._owner.address = None  # whoever was named knows who owns its keys now
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except MovedError as error:
            self._owner.address = error.host, error.port
            self.disconnect()  # type: ignore[attr-defined]
            raise Moved(f"moved to {error.host}:{error.port}") from None


class _FollowingTcp(_Following, Connection):
    pass


class _FollowingTls(_Following, SSLConnection):
    pass


_FOLLOWING = {"redis": _FollowingTcp, "rediss": _FollowingTls}


def connect(url: str, on_connect: Callable[[], None] | None = None) -> Database:
    """A client on its own pool; nothing is sent yet. Raises SettingsError for an address that cannot be one.

    ``on_connect`` is told of every connection it opens: the client opens another by itself where one was lost.
    """

    def opened(connection: AbstractConnection) -> None:
        connection.on_connect()  # type: ignore[no-untyped-call]
        if on_connect is not None:
            on_connect()

    options: dict[str, Any] = {}
    if following := _FOLLOWING.get(urlsplit(url).scheme):
        # Nothing else is tried again here: whoever asked must know that an answer was lost.
        again = Retry(NoBackoff(), retries=3, supported_errors=(Moved,))
        options = {"connection_class": following, "owner": Owner(), "retry": again}
    try:
        pool = ConnectionPool.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=5.0, health_check_interval=30, protocol=2,
            redis_connect_func=opened if on_connect else None, **options,
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
    if settings.layout != "tagged" and clustered(database):
        raise ServerError(f"Redis at {shown(url)} is a cluster: it wants MASSIVE_LAYOUT=tagged")
    return database


def check_one_node(database: Database, streams: Iterable[str]) -> None:
    """Raises ServerError where streams that are read together may be on several nodes of a Redis Cluster."""
    if len({key_slot(stream.encode()) for stream in streams}) > 1 and clustered(database):
        raise ServerError(
            "MASSIVE_SYMBOLS: a Redis Cluster has each underlying on one node: run this stage once for each of them"
        )


def clustered(database: Database) -> bool:
    """Whether the server is a node of a Redis Cluster."""
    return bool(database.info("cluster").get("cluster_enabled"))


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
