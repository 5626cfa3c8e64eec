"""One client on a WebSocket: framing, the handshake of the protocol, and the ways a connection ends."""

import asyncio
from collections.abc import MutableSet
from typing import Any, Protocol, cast

import orjson
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pipeline.simulator.event import Selection

# Clients send keys and topic lists; a subscription of a thousand quotes is some 30 kB.
_CLIENT_FRAME_BYTES = 1024 * 1024
_CLOSE_WAIT_S = 2.0
_STOPPING = 1001

CLUSTERS = frozenset({"options", "indices", "stocks"})


def text_frame(payload: bytes) -> bytes:
    """A whole unfragmented text frame as a server sends it: unmasked, so the same bytes serve every connection."""
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def status(state: str, message: str) -> dict[str, str]:
    """Every status carries a message: the provider's own client fails without."""
    return {"ev": "status", "status": state, "message": message}


class Desk(Protocol):
    """What decides for a connection. Implemented by the hub."""

    send_buffer_bytes: int

    def opened(self, connection: "Connection") -> None: ...
    def said(self, connection: "Connection", message: dict[str, Any]) -> None: ...
    def lost(self, connection: "Connection") -> None: ...
    def answers_ping(self) -> bool: ...


class Connection(asyncio.Protocol):
    """``authenticated`` is false until the auth message; ``topics`` are what it holds, ``selection`` the same as masks.

    ``doomed`` is a newcomer over the limit: it is served up to its first subscription and then closed.
    """

    def __init__(self, desk: Desk, open_protocols: MutableSet[Any]) -> None:
        self.cluster = ""
        self.authenticated = False
        self.doomed = False
        self.topics: frozenset[str] = frozenset()
        self.selection: Selection | None = None
        self.opened_at = 0.0
        self.number = 0
        self.auth_timer: asyncio.TimerHandle | None = None
        self._desk = desk
        self._open_protocols = open_protocols
        self._loop = asyncio.get_running_loop()
        # No extensions: the provider's frames are not compressed in any capture we know.
        self._wire = ServerProtocol(max_size=_CLIENT_FRAME_BYTES)
        self._transport: asyncio.Transport
        self._closing = False
        self._fragments: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open_protocols.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._open_protocols.discard(self)
        if self.auth_timer is not None:
            self.auth_timer.cancel()
        if self.cluster:
            self._desk.lost(self)

    def shutdown(self) -> None:
        """The server stops."""
        self.close(_STOPPING, "")

    def data_received(self, data: bytes) -> None:
        self._wire.receive_data(data)
        answers = self._wire.data_to_send()
        events = self._wire.events_received()
        pinged = any(isinstance(event, Frame) and event.opcode is Opcode.PING for event in events)
        if not (pinged and not self._desk.answers_ping()):
            self._write(answers)
        for event in events:
            if isinstance(event, Request):
                self._accept(event)
            elif isinstance(event, Frame):
                self._frame(event)

    def _write(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            if chunk:
                self._transport.write(chunk)
            else:
                # The wire's word for the end of what will be sent.
                self._closing = True
                self._transport.close()

    def _accept(self, request: Request) -> None:
        path = request.path.partition("?")[0].strip("/")
        if path not in CLUSTERS:
            self._wire.send_response(self._wire.reject(404, "404 page not found"))
            self._write(self._wire.data_to_send())
            return
        response = self._wire.accept(request)
        self._wire.send_response(response)
        self._write(self._wire.data_to_send())
        if response.status_code == 101:
            self.cluster = path
            self.opened_at = self._loop.time()
            self._desk.opened(self)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        content, self._fragments = b"".join(self._fragments), []
        try:
            message = orjson.loads(content)
        except orjson.JSONDecodeError:
            message = None
        self._desk.said(self, message if isinstance(message, dict) else {})

    def send(self, payload: bytes) -> bool:
        """One text frame of these bytes. False if the connection is ending."""
        return self.send_frame(text_frame(payload))

    def send_frame(self, frame: bytes) -> bool:
        """One frame already framed. A consumer too far behind is cut off instead, without a close frame."""
        if self._closing:
            return False
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > self._desk.send_buffer_bytes:
            self.cut()
            return False
        return True

    def send_status(self, *statuses: dict[str, str]) -> None:
        self.send(orjson.dumps(list(statuses)))

    def cut(self) -> None:
        """End TCP at once: no close frame, and what was not sent yet is lost."""
        self._closing = True
        self._transport.abort()

    def hang_up(self) -> None:
        """End TCP without a close frame, after what was said has been sent."""
        self._closing = True
        self._transport.close()

    def close(self, code: int, reason: str) -> None:
        """The orderly end, with a close frame; TCP ends at the client's answer or after two seconds."""
        if self._closing:
            return
        self._closing = True
        try:
            self._wire.send_close(code, reason)
        except InvalidState:
            self._transport.close()
            return
        self._write(self._wire.data_to_send())
        self._loop.call_later(_CLOSE_WAIT_S, self._transport.abort)
