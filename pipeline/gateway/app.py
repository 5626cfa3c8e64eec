"""The gateway's HTTP: the stream of events, the documents, the dashboard, and what watches the process."""

import asyncio
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
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
from pipeline.gateway.hub import STUCK_S, Channel, Hub
from pipeline.gateway.openapi import openapi
from pipeline.gateway.reader import Reader
from pipeline.gateway.replays import RefusedReplay, Replay, Replays, UnknownReplay
from pipeline.gateway.serving import SEND, TRANSPORT
from pipeline.gateway.view import WHOLE, View
from pipeline.settings import Settings
from pipeline.shipped import shipped

_RETRY = b"retry: 1000\n\n"
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"), (b"vary", b"accept-encoding"),
]
_LIMIT_MOST = 1000
_BODY_BYTES = 4096
_LATEST_MS = 10**14
_SPEED = re.compile(r"max|\d{1,4}(\.\d{1,3})?", re.ASCII)
_SMALL_BYTES = 1024  # what is smaller is sent as it is
_LEVEL, _GZIP = 5, zlib.MAX_WBITS | 16


class Gateway:
    """The application over what is live and what is replayed. ``fault``: why the process is not ready, or ''."""

    def __init__(self, hub: Hub, replays: Replays, settings: Settings, fault: Callable[[], str]) -> None:
        self.hub = hub
        self._replays = replays
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
                Route("/api/replays", self.replays, methods=["GET"]),
                Route("/api/replays", self.begin_replay, methods=["POST"]),
                Route("/api/replays/{name}", self.drop_replay, methods=["DELETE"]),
                Route("/api/openapi.json", self.openapi),
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
        source = await self._source(Asked(request, "replay"))
        return await _told(source.documents.tabs)

    async def epochs(self, request: Request) -> Response:
        source = await self._source(Asked(request, "replay"))
        return await _told(source.documents.epochs)

    async def status(self, request: Request) -> Response:
        source = await self._source(Asked(request, "replay"))
        return await _told(lambda: {**source.documents.status(), "heartbeat": orjson.Fragment(source.heartbeat())})

    async def vigil(self, request: Request) -> Response:
        asked = Asked(request, "symbols", "limit", "replay")
        source = await self._source(asked)
        symbols, limit = asked.symbols(source.symbols), asked.number("limit", 100, _LIMIT_MOST)
        return await _told(partial(source.documents.vigil, symbols, limit))

    async def history(self, request: Request) -> Response:
        source = await self._source(Asked(request, "replay"))
        return await _told(partial(source.documents.history, _symbol(request, source)))

    async def model(self, request: Request) -> Response:
        asked = Asked(request, "panes", "strategies", "replay")
        source = await self._source(asked)
        model, symbol = request.path_params["model"], _symbol(request, source)
        if model not in READABLE:
            raise HTTPException(404, f"there is no model {model[:40]!r}; there are {', '.join(READABLE)}")
        view = asked.view()
        if view != WHOLE and not View.applies_to(model):
            raise HTTPException(400, f"panes and strategies are of {', '.join(filter(View.applies_to, READABLE))}")
        found = await asyncio.to_thread(source.documents.document, model, symbol)
        if found is None:
            raise HTTPException(404, f"no {model} of {symbol} is published")
        version, document = found
        headers = {"etag": f'"{version}"', "cache-control": "no-cache", "vary": "accept-encoding"}
        if _has(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return await asyncio.to_thread(_document, model, view, document, asked.gzip, headers)

    async def _source(self, asked: Asked) -> Hub | Replay:
        """What is live, or a replay."""
        if not asked.replay:
            return self.hub
        try:
            return await asyncio.to_thread(self._replays.open, asked.replay)
        except UnknownReplay:
            raise _no_replay(asked.replay) from None

    # --- replays ---
    async def replays(self, request: Request) -> Response:
        Asked(request)
        return await _told(self._replays.listed)

    async def begin_replay(self, request: Request) -> Response:
        """Run a window of what is recorded again."""
        Asked(request)
        wanted = await _wanted(request)
        symbol, speed = wanted.get("symbol"), wanted.get("speed", "max")
        if symbol not in self.hub.symbols:
            raise HTTPException(400, f"symbol: there are {', '.join(self.hub.symbols)}")
        begin, end = wanted.get("from_ms"), wanted.get("to_ms")
        if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin < end < _LATEST_MS:
            raise HTTPException(400, "from_ms and to_ms are times in ms, and the first is before the other")
        if not isinstance(speed, str) or not _SPEED.fullmatch(speed):
            raise HTTPException(400, "speed is 1, 10, any other multiple, or max")
        try:
            name = await self._replays.begin(symbol, begin, end, speed)
        except RefusedReplay as error:
            raise HTTPException(400, str(error)) from None
        return Response(orjson.dumps({"name": name}), 202, NO_STORE, "application/json")

    async def drop_replay(self, request: Request) -> Response:
        Asked(request)
        name = request.path_params["name"]
        try:
            await self._replays.drop(name)
        except UnknownReplay:
            raise _no_replay(name) from None
        return Response(status_code=204)

    # --- the stream ---
    async def stream(self, request: Request, send: Send) -> None:
        """GET /sse: what is sent are the very bytes that others are sent."""
        asked = Asked(request, "symbols", "models", "panes", "strategies", "last_event_id", "replay")
        source = await self._source(asked)
        channel = Channel(asked.symbols(source.symbols), asked.models(), asked.view(), asked.gzip)
        transport: asyncio.Transport = request.scope["extensions"][TRANSPORT]
        try:
            follow = (
                partial(_play, self.hub, source, source.reader(asked.last_id), asked.last_id in ("", "0"))
                if isinstance(source, Replay) else partial(_follow, source, asked.last_event())
            )
        except ValueError as error:
            raise HTTPException(400, f"Last-Event-ID: {error}") from None
        with self._counted(request):
            encoding = [(b"content-encoding", b"gzip")] if channel.gzip else []
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS + encoding})
            await follow(channel, transport, request.scope["extensions"][SEND])
            await send({"type": "http.response.body", "body": b""})

    @contextmanager
    def _counted(self, request: Request) -> Iterator[None]:
        address = request.client.host if request.client else ""
        if self._streams[address] >= self._settings.gateway_clients_per_address:
            metrics.GATEWAY_REFUSED.labels("clients").inc()
            raise HTTPException(429, f"{address} has {self._streams[address]} streams open, and may have no more",
                                {"retry-after": "10"})
        self._streams[address] += 1
        metrics.GATEWAY_CLIENTS.inc()
        try:
            yield
        finally:
            metrics.GATEWAY_CLIENTS.dec()
            self._streams[address] -= 1
            if not self._streams[address]:
                del self._streams[address]

    # --- the process ---
    async def openapi(self, request: Request) -> Response:
        Asked(request)
        return Response(openapi(), media_type="application/json", headers=NO_STORE)

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


async def _follow(
    hub: Hub, after: Position | None, channel: Channel, transport: asyncio.Transport, send: Send
) -> None:
    """What is live, until the client or the process ends it."""
    subscriber, now = hub.subscribe(channel, after, transport), asyncio.get_running_loop().time
    piece = _begun(channel)
    try:
        while subscriber.open:
            if piece:
                subscriber.sending_since = now()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                subscriber.sending_since = 0.0
            piece = await hub.catch_up(subscriber) if subscriber.behind else await subscriber.take()
    finally:
        hub.unsubscribe(subscriber)


async def _play(
    hub: Hub, replay: Replay, reader: Reader, reset: bool, channel: Channel, transport: asyncio.Transport, send: Send
) -> None:
    """A replay, as fast as it is taken; it ends with what is live."""
    await send({"type": "http.response.body", "body": _begun(channel), "more_body": True})
    async with aclosing(replay.pieces(reader, channel, reset)) as pieces:
        async for piece in pieces:
            if piece:
                try:
                    async with asyncio.timeout(STUCK_S):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError:
                    metrics.GATEWAY_STUCK.inc()
                    transport.abort()
            if hub.closed or transport.is_closing():
                return


def _begun(channel: Channel) -> bytes:
    return GZIP_HEADER + compressed(_RETRY) if channel.gzip else _RETRY


class _Static(StaticFiles):
    """The dashboard's files: asked for each time, answered 304 while they are the same."""

    def file_response(self, *given: Any, **more: Any) -> Response:
        answer = super().file_response(*given, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer


# --- what is asked ---
def _symbol(request: Request, source: Hub | Replay) -> str:
    symbol = str(request.path_params["symbol"])
    if symbol not in source.symbols:
        raise HTTPException(404, f"there is no symbol {symbol[:40]!r}; there are {', '.join(source.symbols)}")
    return symbol


async def _wanted(request: Request) -> dict[str, Any]:
    """The body: a JSON object. No form of another site can send one."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the body is application/json")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_BYTES:
            raise HTTPException(413, f"a body has at most {_BODY_BYTES} bytes")
    try:
        wanted = orjson.loads(body)
    except orjson.JSONDecodeError:
        wanted = None
    if not isinstance(wanted, dict):
        raise HTTPException(400, "the body is no JSON object")
    return wanted


def _no_replay(name: str) -> HTTPException:
    return HTTPException(404, f"there is no replay {name[:40]!r}")


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
