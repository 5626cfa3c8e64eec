"""One of the provider's sockets, kept open: authorised, subscribed, watched, and opened again when it breaks.

Two threads. The reader does nothing but enqueue (a consumer that is slow is cut off by the provider); the feed thread
holds the conversation and hands frames on. Neither knows where the frames go.
"""

import queue
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import websocket
from pydantic import SecretStr

from pipeline.logs import Log, Outage
from pipeline.provider.conversation import Broken, Conversation, Pace, Tally
from pipeline.provider.frames import Frame, Received, read_frame

_CONNECT_S = 10.0  # for TCP, TLS and the upgrade each
_STALL_S = 60.0  # a frame that stops half-way, or a peer that does not read: longer than pings are apart
_TURN_S = 0.25
_LEAVE_S = 2.0
_BATCH = 1000

OnFrame = Callable[[Received, Frame], None]


@dataclass(frozen=True, slots=True)
class _Pong:
    pass


@dataclass(frozen=True, slots=True)
class _Ended:
    why: str


_Item = tuple[int, Received | _Pong | _Ended | None]


class Connection:
    """A fresh WebSocketApp and the thread that reads it. Everything it learns goes into the inbox, in order."""

    def __init__(self, url: str, number: int, inbox: "queue.SimpleQueue[_Item]") -> None:
        self._number = number
        self._inbox = inbox
        self._why = ""
        self._app = websocket.WebSocketApp(
            url, on_open=self._on_open, on_message=self._on_message, on_pong=self._on_pong, on_error=self._on_error,
            on_close=self._on_close,
        )
        self._thread = threading.Thread(target=self._read, name=f"socket-{number}", daemon=True)

    def open(self) -> None:
        # The library takes this for new sockets only, and has no other way to bound the connect.
        websocket.setdefaulttimeout(_CONNECT_S)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._app.run_forever(skip_utf8_validation=True)
        except Exception as error:  # whatever ends the reader, the feed must hear of it
            self._why = self._why or f"{type(error).__name__}: {error}"
        self._inbox.put((self._number, _Ended(self._why or "closed")))

    def _on_open(self, app: Any) -> None:
        app.sock.settimeout(_STALL_S)

    def _on_message(self, _: Any, payload: bytes | str) -> None:
        received = Received(time.time_ns() // 1_000_000, payload if isinstance(payload, bytes) else payload.encode())
        self._inbox.put((self._number, received))

    def _on_pong(self, *_: object) -> None:
        self._inbox.put((self._number, _Pong()))

    def _on_error(self, _: Any, error: object) -> None:
        self._why = str(error) if str(error).startswith("Connection closed") else f"{type(error).__name__}: {error}"

    def _on_close(self, _: Any, code: int | None, reason: str | None) -> None:
        if code is not None:
            self._why = f"closed by the provider: {code} {reason or ''}".strip()

    def send(self, text: str) -> None:
        try:
            self._app.send(text)
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise Broken(f"cannot send: {type(error).__name__}") from None

    def ping(self) -> None:
        sock = self._app.sock
        try:
            if sock is not None:
                sock.ping()
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise Broken(f"cannot ping: {type(error).__name__}") from None

    def close(self, politely: bool) -> None:
        """End it without waiting long for the other side; the reader wakes up and leaves."""
        app = self._app
        app.keep_running = False
        try:
            if app.sock is not None and app.sock.sock is not None:
                raw = app.sock.sock
                if politely:
                    app.sock.send_close()
                # Not close(): that leaves a reader asleep on a descriptor that is gone. Not the method of a TLS
                # socket either: that takes the encryption off under the reader's hands.
                socket.socket.shutdown(raw, socket.SHUT_RDWR)
        except (websocket.WebSocketException, OSError, AttributeError, TypeError):
            pass  # it ended meanwhile
        self._thread.join(_LEAVE_S)


class Feed:
    """Keeps one socket open until ``close``. ``want`` may be called from any thread; ``on_frame`` comes from its own.

    ``name`` is for the log. One line says that it broke and one, once it has been healthy again, that it healed.
    """

    def __init__(
        self, url: str, key: SecretStr, name: str, log: Log, on_frame: OnFrame, pace: Pace | None = None
    ) -> None:
        self.tally = Tally()
        self.state = "idle"
        self._url = url
        self._key = key
        self._on_frame = on_frame
        self._pace = pace or Pace()
        self._log = log
        self._outage = Outage(log, f"{name} socket")
        self._refusal = Outage(log, f"{name} key")
        self._acks = Outage(log, f"{name} subscriptions")
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._wanted: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed-{name}", daemon=True)
        self._backoff_s = 0.0
        self._crowded_s = 0.0
        self._number = 0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Leave. What has been received is handed on before this returns."""
        self._stop.set()
        self._inbox.put((0, None))
        if self._thread.ident is not None:
            self._thread.join(2 * _LEAVE_S)
        self.state = "closed"

    def want(self, topics: frozenset[str]) -> None:
        """Hold these topics from now on, also after every reconnect."""
        if topics != self._wanted:
            self._wanted = topics
            self._inbox.put((0, None))

    @property
    def alive(self) -> bool:
        """Its thread runs; it never ends by itself unless even saying what is wrong fails."""
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Frames read from the socket and not looked at yet."""
        return self._inbox.qsize()

    @property
    def refused(self) -> bool:
        """The provider does not accept the key, or the plan has no sockets."""
        return self._refusal.broken

    @property
    def healthy(self) -> bool:
        return self.state == "live" and not self._outage.broken and not self._refusal.broken

    # --- the feed thread ---
    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._converse()
            except Broken as broken:
                self._pause(self._broke(broken))
            except Exception as error:  # a feed never ends by itself
                self._log.exception("the feed failed; it connects again")
                self._pause(self._broke(Broken(type(error).__name__)))
        self._hand_on_the_rest()

    def _converse(self) -> None:
        """One connection from its opening to its end. Raises Broken, unless the feed is to stop."""
        self._number += 1
        self.tally.connections += 1
        self.tally.reconnects += self._number > 1
        self.state = "connecting"
        connection = Connection(self._url, self._number, self._inbox)
        conversation = Conversation(
            self._key, self._pace, self.tally, connection.send, connection.ping, time.monotonic()
        )
        connection.open()
        settled = False
        try:
            while not self._stop.is_set():
                self._take(conversation, self._next(_TURN_S))
                now = time.monotonic()
                conversation.want(self._wanted, now)
                conversation.tick(now)
                self.state = "live" if conversation.live else "connecting"
                self._note_acks(conversation)
                if not settled and conversation.healthy(now):
                    settled = True
                    self._settled()
        finally:
            self.state = "disconnected"
            connection.close(politely=self._stop.is_set())

    def _next(self, timeout_s: float) -> list[_Item]:
        """What has come in: at least one item unless there is none in time."""
        items: list[_Item] = []
        try:
            items.append(self._inbox.get(timeout=timeout_s))
            while len(items) < _BATCH:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return items

    def _take(self, conversation: Conversation | None, items: list[_Item]) -> None:
        """Events of an earlier connection still count: they had arrived. What it said about itself does not."""
        ended: Broken | None = None
        for number, item in items:
            current = conversation if number == self._number else None
            if isinstance(item, Received):
                try:
                    self._take_frame(current, item)
                except Broken as broken:
                    ended = ended or broken
            elif isinstance(item, _Pong) and current is not None:
                current.on_pong(time.monotonic())
            elif isinstance(item, _Ended) and current is not None:
                ended = ended or Broken(item.why)
        if ended is not None:
            raise ended

    def _take_frame(self, conversation: Conversation | None, received: Received) -> None:
        frame = read_frame(received.payload)
        now = time.monotonic()
        if frame.events or not frame.readable:
            self._on_frame(received, frame)
        if conversation is None:
            return
        if frame.events:
            conversation.on_events(now)
        for status in frame.statuses:
            conversation.on_status(status, now)

    def _hand_on_the_rest(self) -> None:
        while items := self._next(0.0):
            self._take(None, items)

    # --- breaking and healing ---
    def _broke(self, broken: Broken) -> float:
        """Say so once, and answer for how long to wait. No wait is shortened before a connection has been healthy."""
        pace = self._pace
        if broken.kind == "refused":
            self._refusal.broke(str(broken), next_in_s=pace.refused)
            return pace.refused
        self._outage.broke(str(broken))
        if broken.kind == "crowded":
            self._crowded_s = min(max(pace.crowded, 2 * self._crowded_s), pace.crowded_most)
        self._backoff_s = min(max(pace.backoff, 2 * self._backoff_s), pace.backoff_most)
        return max(self._backoff_s, self._crowded_s) * (0.5 + random.random() / 2)

    def _settled(self) -> None:
        self._backoff_s = self._crowded_s = 0.0
        self._refusal.healed()
        self._outage.healed(confirmed_after_s=self._pace.healthy_after)

    def _note_acks(self, conversation: Conversation) -> None:
        if conversation.missing:
            self._acks.broke("not acknowledged, though asked for twice", missing=conversation.missing)
        elif conversation.acked_all:
            self._acks.healed()

    def _pause(self, seconds: float) -> None:
        """Wait, handing on what still comes out of the connection that ended."""
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            self._take(None, self._next(min(left, _TURN_S)))
