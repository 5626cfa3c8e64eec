"""uvicorn, run as a part of a worker: told where to end, and with a hand on every connection."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

TRANSPORT, SEND = "marketswarm.transport", "marketswarm.send"
"""Where in a scope's extensions the connection itself is found, and the server's own ``send``: what is sent ten times a
second to everybody need not pass through every middleware, once the answer has begun."""
_SEND_BUFFER_BYTES = 256 * 1024
"""What the kernel keeps for a client that does not read; left to itself it takes megabytes of each."""
_LEAVE_S = 1  # streams end by themselves before; what is left after it is cancelled


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Puts the transport in the scope: a client that takes nothing can then be cut off, whatever waits for it."""

    app: ASGIApp

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope.setdefault("extensions", {}).update({TRANSPORT: transport, SEND: send})
            await app(scope, receive, send)

        self.app = with_transport


class Server(uvicorn.Server):
    """Signals are the worker's business."""

    def __init__(self, app: ASGIApp, listener: socket.socket, **options: Any) -> None:
        super().__init__(uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_LEAVE_S, **options,
        ))
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets or [self._listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError, naming the address, where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # of every connection it accepts
        return listener
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
