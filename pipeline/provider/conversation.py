"""What is said on one connection: greeting, key, subscriptions and their acks, and when silence means it is broken.

No threads, no sockets and no clock of its own: ``send`` and ``ping`` speak, every call says what time it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import SecretStr

from pipeline.provider.frames import acked_topic, requests

Kind = Literal["lost", "crowded", "refused"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a feed is, in seconds."""

    silent_after: float = 30.0
    """Subscribed, and no event for so long, where the provider had spoken or never acknowledged anything."""
    healthy_after: float = 10.0
    """A connection that has worked for so long is healthy: only then does the backoff start anew."""
    answer: float = 10.0
    """For the greeting, and for the answer to the key."""
    acks: float = 5.0
    ping: float = 10.0
    backoff: float = 0.5
    backoff_most: float = 30.0
    crowded: float = 2.0
    """First wait after max_connections: somebody else holds the connection, and taking it back makes a ping-pong."""
    crowded_most: float = 60.0
    refused: float = 60.0
    """After a refused key: asking again soon will not help."""


@dataclass(slots=True)
class Tally:
    """What a feed has counted since it started."""

    connections: int = 0
    reconnects: int = 0
    refusals: int = 0
    crowded: int = 0
    acks: int = 0
    missing_acks: int = 0
    not_authorized: int = 0
    unknown_statuses: int = 0


class Broken(Exception):
    """The connection is of no more use. ``kind`` says how soon to try again."""

    def __init__(self, why: str, kind: Kind = "lost") -> None:
        super().__init__(why)
        self.kind: Kind = kind


class Conversation:
    """One connection from greeting to end. Methods raise Broken when it is over."""

    def __init__(
        self, key: SecretStr, pace: Pace, tally: Tally, send: Callable[[str], None], ping: Callable[[], None],
        now: float,
    ) -> None:
        self._key = key
        self._pace = pace
        self._tally = tally
        self._send = send
        self._ping = ping
        self._phase: Literal["greeting", "key", "live"] = "greeting"
        self._phase_at = now
        self._held: frozenset[str] = frozenset()
        self._waiting: dict[str, float] = {}  # topic -> when its ack is overdue
        self._missing: set[str] = set()  # not acknowledged after being asked for twice
        self._asked_again: set[str] = set()
        self._acked = 0
        self._asked_at = now
        self._spoke_at: float | None = None  # the last event
        self._sign_at = now  # anything at all: a frame, a status, a pong
        self._pinged_at = now
        self._settled_at: float | None = None

    @property
    def live(self) -> bool:
        """The key is accepted."""
        return self._phase == "live"

    @property
    def missing(self) -> int:
        """Topics that were never acknowledged, though asked for twice."""
        return len(self._missing)

    @property
    def acked_all(self) -> bool:
        return self.live and not self._waiting and not self._missing

    def healthy(self, now: float) -> bool:
        return self._settled_at is not None and now - self._settled_at >= self._pace.healthy_after

    # --- what the provider says ---
    def on_status(self, status: dict[str, Any], now: float) -> None:
        self._sign_at = now
        said, message = status.get("status"), str(status.get("message", ""))[:120].strip()
        if said == "connected":
            if self._phase == "greeting":
                self._enter("key", now)
                self._send(orjson.dumps({"action": "auth", "params": self._key.get_secret_value()}).decode())
        elif said == "auth_success":
            if self._phase != "live":
                self._enter("live", now)
                self._settle(now)
        elif said == "auth_failed":
            self._tally.refusals += 1
            raise Broken(message or "authentication failed", "refused")
        elif said == "max_connections":
            self._tally.crowded += 1
            raise Broken(message or "too many connections", "crowded")
        elif said == "auth_timeout":
            raise Broken(message or "the key came too late")
        elif said == "success":
            self._on_ack(status, now)
        elif said == "error":
            self._tally.not_authorized += 1  # it names no topic: the ack that does not come will tell
        else:
            self._tally.unknown_statuses += 1

    def _on_ack(self, status: dict[str, Any], now: float) -> None:
        topic = acked_topic(status)
        if topic is not None and (self._waiting.pop(topic, None) is not None or topic in self._missing):
            self._missing.discard(topic)
            self._tally.acks += 1
            self._acked += 1
            self._settle(now)

    def on_events(self, now: float) -> None:
        self._sign_at = self._spoke_at = now
        self._settle(now)

    def on_pong(self, now: float) -> None:
        self._sign_at = now

    # --- what we want ---
    def want(self, topics: frozenset[str], now: float) -> None:
        """Subscribe what is new and unsubscribe what is no longer wanted, and nothing else."""
        if self._phase != "live" or topics == self._held:
            return
        gone, new = sorted(self._held - topics), sorted(topics - self._held)
        for frame in requests("unsubscribe", gone) + requests("subscribe", new):
            self._send(frame)
        self._held = topics
        self._missing.difference_update(gone)
        for topic in gone:
            self._waiting.pop(topic, None)
            self._asked_again.discard(topic)
        self._waiting.update(dict.fromkeys(new, now + self._pace.acks))
        if new:
            self._asked_at = now
            if self._spoke_at is None and not self._acked:
                self._settled_at = None  # the key alone no longer shows that it works

    def tick(self, now: float) -> None:
        """Time has passed. Raises Broken for what has been silent too long."""
        if self._phase != "live":
            if now - self._phase_at > self._pace.answer:
                raise Broken("no greeting" if self._phase == "greeting" else "no answer to the key")
            return
        self._chase_acks(now)
        if now - self._pinged_at >= self._pace.ping:
            self._pinged_at = now
            self._ping()
        self._judge_silence(now)

    def _chase_acks(self, now: float) -> None:
        """A subscription that is not acknowledged is asked for once more; after that it is missing."""
        overdue = [topic for topic, due in self._waiting.items() if now > due]
        if not overdue:
            return
        again = [topic for topic in overdue if topic not in self._asked_again]
        self._tally.missing_acks += len(again)
        for topic in overdue:
            del self._waiting[topic]
            if topic in self._asked_again:
                self._missing.add(topic)
        self._asked_again.update(again)
        self._waiting.update(dict.fromkeys(again, now + self._pace.acks))
        for frame in requests("subscribe", again):
            self._send(frame)

    def _judge_silence(self, now: float) -> None:
        """A still market sends nothing, and says so by acks and pongs; a broken connection does not."""
        quiet = now - max(self._spoke_at or 0.0, self._asked_at)
        if self._held and quiet > self._pace.silent_after:
            if self._spoke_at is not None:
                raise Broken(f"no event for {quiet:.1f} s")
            if not self._acked:
                raise Broken(f"neither acks nor events for {quiet:.1f} s")
        still = now - self._sign_at
        if still > self._pace.silent_after + self._pace.ping:
            raise Broken(f"no frame and no pong for {still:.1f} s")

    def _enter(self, phase: Literal["key", "live"], now: float) -> None:
        self._phase, self._phase_at = phase, now

    def _settle(self, now: float) -> None:
        """From the first sign that the connection works: an event, an ack, or the key where nothing is wanted."""
        if self._settled_at is None and (self._spoke_at is not None or self._acked or not self._held):
            self._settled_at = now
