"""One leader among the processes of a stage that must not work twice. The others stand by and take over."""

from redis.exceptions import LockError
from redis.lock import Lock
from walrus import Database

TTL_S = 5.0
"""A leader that died is replaced after so long. Call ``hold`` several times as often."""


class Leadership:
    def __init__(self, database: Database, key: str, ttl_s: float = TTL_S) -> None:
        self._lock = Lock(database, key, timeout=ttl_s, blocking=False, thread_local=False)
        self.leading = False

    def hold(self) -> bool:
        """Take or keep the lead; whether this process has it now. Raises RedisError when Redis cannot be asked."""
        if self.leading:
            try:
                self._lock.reacquire()
            except LockError:
                self.leading = False
        if not self.leading:
            self.leading = bool(self._lock.acquire())
        return self.leading

    def resign(self) -> None:
        """Let another process lead at once. Raises RedisError when Redis cannot be told: the lock then runs out."""
        if self.leading:
            self.leading = False
            try:
                self._lock.release()
            except LockError:
                return
