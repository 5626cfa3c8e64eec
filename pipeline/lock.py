"""A lock that one process holds while it lives: the others stand by and take over within its time to live."""

import secrets

from pipeline.scripts import Scripts

TTL_S = 5.0
RENEW_S = 1.0


class Lock:
    """Say ``hold`` every RENEW_S. Errors of Redis pass through: they say nothing about who holds it."""

    def __init__(self, scripts: Scripts, key: str, owner: str, ttl_s: float = TTL_S) -> None:
        self._scripts = scripts
        self._key = key
        self._token = f"{owner}:{secrets.token_hex(8)}"
        self._ttl_ms = int(ttl_s * 1000)

    def hold(self) -> bool:
        """Take it or keep it. False: another process holds it."""
        return bool(
            self._scripts.run("hold_lock", {"lock": self._key}, {"token": self._token, "ttl_ms": self._ttl_ms})
        )

    def drop(self) -> None:
        self._scripts.run("drop_lock", {"lock": self._key}, {"token": self._token})
