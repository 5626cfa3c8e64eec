"""uvicorn, run as a part of a worker: told where to end, and with a hand on every connection."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_LEAVE_S = 1  # streams end by themselves before; what is left after it is cancelled


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Puts the transport in the scope: a client that takes nothing can then be cut off, whatever waits for it."""

    app: ASGIApp

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope.setdefault("extensions", {})["marketswarm.transport"] = transport
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

    async def until(self, stopped: asyncio.Event) -> None:
        """Serve until then."""
        serving = asyncio.create_task(self.serve(sockets=[self._listener]))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        waiting.cancel()
        await serving


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError, naming the address, where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
