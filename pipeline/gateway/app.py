"""The gateway's HTTP: the stream of events, the documents, the dashboard, and what watches the process."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pipeline import metrics
from pipeline.gateway.access import Access
from pipeline.gateway.answers import NO_STORE, refusal
from pipeline.gateway.asked import Asked
from pipeline.gateway.documents import READABLE
from pipeline.gateway.event import GZIP_HEADER, Position, compressed
from pipeline.gateway.hub import Channel, Hub
from pipeline.gateway.serving import TRANSPORT
from pipeline.gateway.view import WHOLE, View
from pipeline.settings import Settings
from pipeline.shipped import shipped

_RETRY = b"retry: 1000\n\n"
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"), (b"vary", b"accept-encoding"),
]
_LIMIT_MOST = 1000
_SMALL_BYTES = 1024  # what is smaller is sent as it is
_LEVEL, _GZIP = 5, zlib.MAX_WBITS | 16


class Gateway:
    """The application over a hub. ``fault`` says why the process is not ready, or an empty string."""

    def __init__(self, hub: Hub, settings: Settings, fault: Callable[[], str]) -> None:
        self.hub = hub
        self._settings = settings
        self._fault = fault
        self._streams: Counter[str] = Counter()

    def app(self) -> Starlette:
        dashboard = shipped("dashboard")
        cors = Middleware(
            CORSMiddleware, allow_origins=self._settings.gateway_origins, allow_methods=["GET"],
            allow_headers=["authorization", "last-event-id", "if-none-match"], expose_headers=["etag"],
        )
        return Starlette(
            routes=[
                Route("/", partial(_page, dashboard / "index.html")),
                Route("/favicon.ico", partial(_page, dashboard / "favicon.svg")),
                Mount("/dashboard", _Static(directory=dashboard)),
                Route("/sse", _Stream(self)),
                Route("/api/symbols", self.symbols),
                Route("/api/epochs", self.epochs),
                Route("/api/status", self.status),
                Route("/api/vigil", self.vigil),
                Route("/api/history/{symbol}", self.history),
                Route("/api/models/{model}/{symbol}", self.model),
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.metrics),
            ],
            middleware=([cors] if self._settings.gateway_origins else [])
            + [Middleware(Access, settings=self._settings)],
            exception_handlers={HTTPException: _refused, RedisError: _away},
        )

    # --- JSON ---
    async def symbols(self, request: Request) -> Response:
        Asked(request)
        return await _told(self.hub.documents.tabs)

    async def epochs(self, request: Request) -> Response:
        Asked(request)
        return await _told(self.hub.documents.epochs)

    async def status(self, request: Request) -> Response:
        Asked(request)
        hub = self.hub
        return await _told(lambda: {**hub.documents.status(), "heartbeat": orjson.Fragment(hub.heartbeat())})

    async def vigil(self, request: Request) -> Response:
        asked = Asked(request, "symbols", "limit")
        symbols, limit = asked.symbols(self.hub.symbols), asked.number("limit", 100, _LIMIT_MOST)
        return await _told(partial(self.hub.documents.vigil, symbols, limit))

    async def history(self, request: Request) -> Response:
        Asked(request)
        return await _told(partial(self.hub.documents.history, self._symbol(request)))

    async def model(self, request: Request) -> Response:
        asked = Asked(request, "panes", "strategies")
        model, symbol = request.path_params["model"], self._symbol(request)
        if model not in READABLE:
            raise HTTPException(404, f"there is no model {model[:40]!r}; there are {', '.join(READABLE)}")
        view = asked.view()
        if view != WHOLE and not View.applies_to(model):
            raise HTTPException(400, f"panes and strategies are of {', '.join(filter(View.applies_to, READABLE))}")
        found = await asyncio.to_thread(self.hub.documents.document, model, symbol)
        if found is None:
            raise HTTPException(404, f"no {model} of {symbol} is published")
        version, document = found
        headers = {"etag": f'"{version}"', "cache-control": "no-cache", "vary": "accept-encoding"}
        if _has(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return await asyncio.to_thread(_document, model, view, document, asked.gzip, headers)

    def _symbol(self, request: Request) -> str:
        symbol = str(request.path_params["symbol"])
        if symbol not in self.hub.symbols:
            raise HTTPException(404, f"there is no symbol {symbol[:40]!r}; there are {', '.join(self.hub.symbols)}")
        return symbol

    # --- the stream ---
    async def stream(self, request: Request, send: Send) -> None:
        """GET /sse: what is sent are the very bytes that others are sent."""
        asked = Asked(request, "symbols", "models", "panes", "strategies", "last_event_id")
        channel = Channel(asked.symbols(self.hub.symbols), asked.models(), asked.view(), asked.gzip)
        after = asked.last_event()
        address = request.client.host if request.client else ""
        if self._streams[address] >= self._settings.gateway_clients_per_address:
            metrics.GATEWAY_REFUSED.labels("clients").inc()
            raise HTTPException(429, f"{address} has {self._streams[address]} streams open, and may have no more",
                                {"retry-after": "10"})
        self._streams[address] += 1
        metrics.GATEWAY_CLIENTS.inc()
        try:
            await self._follow(channel, after, request.scope["extensions"][TRANSPORT], send)
        finally:
            metrics.GATEWAY_CLIENTS.dec()
            self._streams[address] -= 1
            if not self._streams[address]:
                del self._streams[address]

    async def _follow(self, channel: Channel, after: Position | None, transport: asyncio.Transport, send: Send) -> None:
        encoding = [(b"content-encoding", b"gzip")] if channel.gzip else []
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS + encoding})
        subscriber, now = self.hub.subscribe(channel, after, transport), asyncio.get_running_loop().time
        piece = GZIP_HEADER + compressed(_RETRY) if channel.gzip else _RETRY
        try:
            while subscriber.open:
                if piece:
                    subscriber.sending_since = now()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    subscriber.sending_since = 0.0
                piece = await self.hub.catch_up(subscriber) if subscriber.behind else await subscriber.take()
        finally:
            self.hub.subscribers.discard(subscriber)
        await send({"type": "http.response.body", "body": b""})

    # --- the process ---
    async def healthz(self, request: Request) -> Response:
        return Response("alive\n", media_type="text/plain", headers=NO_STORE)

    async def readyz(self, request: Request) -> Response:
        fault = self._fault()
        return Response(f"{fault or 'ready'}\n", 503 if fault else 200, media_type="text/plain", headers=NO_STORE)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST, **NO_STORE})


class _Stream:
    """An endpoint that is an application: its answer has no end, and so is no Response."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "GET":
            raise HTTPException(405, "only GET", {"allow": "GET"})
        await self._gateway.stream(request, send)


class _Static(StaticFiles):
    """The dashboard's files: asked for each time, answered 304 while they are the same."""

    def file_response(self, *given: Any, **more: Any) -> Response:
        answer = super().file_response(*given, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer


# --- what is answered ---
async def _told(read: Callable[[], Any]) -> Response:
    return Response(orjson.dumps(await asyncio.to_thread(read)), media_type="application/json", headers=NO_STORE)


def _document(model: str, view: View, document: bytes, gzip: bool, headers: dict[str, str]) -> Response:
    if view != WHOLE:
        document = orjson.dumps(view.narrow(model, orjson.loads(document)))
    if gzip and len(document) > _SMALL_BYTES:
        document, headers = zlib.compress(document, _LEVEL, _GZIP), {**headers, "content-encoding": "gzip"}
    return Response(document, media_type="application/json", headers=headers)


def _has(request: Request, etag: str) -> bool:
    shown = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in shown.split(","))


async def _page(path: Any, request: Request) -> Response:
    if not path.is_file():
        raise HTTPException(404, "there is no such file")
    return FileResponse(path, headers={"cache-control": "no-cache"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = refusal(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _away(request: Request, error: Exception) -> Response:
    return refusal(503, f"Redis does not answer: {type(error).__name__}")
