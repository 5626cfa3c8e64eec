"""The gateway's HTTP: the stream of events, the documents, the dashboard, and what watches the process."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pipeline.gateway.documents import ANNOUNCED, OTHERS, READABLE
from pipeline.gateway.event import GZIP_HEADER, Position, compressed, parse_position
from pipeline.gateway.hub import Channel, Hub
from pipeline.gateway.view import WHOLE, View
from pipeline.shipped import shipped

SUBSCRIBABLE = (*ANNOUNCED, *OTHERS)
STUCK_S = 30.0
"""A client that takes nothing for so long is closed."""
_RETRY = b"retry: 1000\n\n"
_NO_STORE = {"cache-control": "no-store"}


class Gateway:
    """The application over a hub. ``fault`` says why the process is not ready, or an empty string."""

    def __init__(self, hub: Hub, fault: Callable[[], str]) -> None:
        self.hub = hub
        self._fault = fault

    def app(self) -> Starlette:
        dashboard = shipped("dashboard")
        return Starlette(
            routes=[
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
                Route("/", partial(_page, dashboard / "index.html")),
                Mount("/dashboard", StaticFiles(directory=dashboard)),
            ],
            exception_handlers={HTTPException: _refused, RedisError: _away, OSError: _away},
        )

    # --- JSON ---
    async def symbols(self, request: Request) -> Response:
        _known(request)
        return await _told(self.hub.documents.tabs)

    async def epochs(self, request: Request) -> Response:
        _known(request)
        return await _told(self.hub.documents.epochs)

    async def status(self, request: Request) -> Response:
        _known(request)
        hub = self.hub
        return await _told(lambda: {**hub.documents.status(), "heartbeat": orjson.Fragment(hub.heartbeat())})

    async def vigil(self, request: Request) -> Response:
        asked = _known(request, "symbols", "limit")
        symbols = self._symbols(asked)
        limit = asked.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= 1000):
            raise HTTPException(400, f"limit: {limit[:40]!r} is not a number from 1 to 1000")
        return await _told(partial(self.hub.documents.vigil, symbols, int(limit)))

    async def history(self, request: Request) -> Response:
        _known(request)
        return await _told(partial(self.hub.documents.history, self._symbol(request)))

    async def model(self, request: Request) -> Response:
        asked = _known(request, "panes", "strategies")
        model, symbol = request.path_params["model"], self._symbol(request)
        if model not in READABLE:
            raise HTTPException(404, f"there is no model {model[:40]!r}; there are {', '.join(READABLE)}")
        view = _view(asked)
        if view != WHOLE and not View.applies_to(model):
            raise HTTPException(400, f"panes and strategies are of {', '.join(filter(View.applies_to, READABLE))}")
        found = await asyncio.to_thread(self.hub.documents.document, model, symbol)
        if found is None:
            raise HTTPException(404, f"no {model} of {symbol} is published")
        version, document = found
        headers = {"etag": f'"{version}"', "cache-control": "no-cache"}
        if f'"{version}"' in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if view != WHOLE:
            document = await asyncio.to_thread(lambda: orjson.dumps(view.narrow(model, orjson.loads(document))))
        return Response(document, media_type="application/json", headers=headers)

    def _symbol(self, request: Request) -> str:
        symbol = str(request.path_params["symbol"])
        if symbol not in self.hub.symbols:
            raise HTTPException(404, f"there is no symbol {symbol[:40]!r}; there are {', '.join(self.hub.symbols)}")
        return symbol

    def _symbols(self, asked: dict[str, str]) -> frozenset[str]:
        return frozenset(_listed(asked, "symbols", self.hub.symbols))

    # --- the stream ---
    def channel(self, request: Request) -> Channel:
        """What a client asks for. Raises HTTPException."""
        asked = _known(request, "symbols", "models", "panes", "strategies", "last_event_id")
        gzip = "gzip" in request.headers.get("accept-encoding", "")
        return Channel(self._symbols(asked), frozenset(_listed(asked, "models", SUBSCRIBABLE)), _view(asked), gzip)

    # --- the process ---
    async def healthz(self, request: Request) -> Response:
        return Response("alive\n", media_type="text/plain", headers=_NO_STORE)

    async def readyz(self, request: Request) -> Response:
        fault = self._fault()
        return Response(f"{fault or 'ready'}\n", 503 if fault else 200, media_type="text/plain", headers=_NO_STORE)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST, **_NO_STORE})


class _Stream:
    """GET /sse, by hand: what is sent is the very bytes that others are sent."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "GET":
            raise HTTPException(405, "only GET")
        channel, after = self._gateway.channel(request), _last_event(request)
        hub, transport = self._gateway.hub, scope["extensions"]["marketswarm.transport"]
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
                   (b"x-accel-buffering", b"no"), (b"vary", b"accept-encoding")]
        if channel.gzip:
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        subscriber = hub.subscribe(channel, after)
        try:
            piece = GZIP_HEADER + compressed(_RETRY) if channel.gzip else _RETRY
            while not subscriber.closed and not transport.is_closing():
                if piece:
                    body = {"type": "http.response.body", "body": piece, "more_body": True}
                    await asyncio.wait_for(send(body), STUCK_S)
                piece = await hub.catch_up(subscriber) if subscriber.behind else await subscriber.take()
        except TimeoutError:
            transport.abort()
            return
        finally:
            hub.subscribers.discard(subscriber)
        await send({"type": "http.response.body", "body": b""})


def _last_event(request: Request) -> Position | None:
    text = request.headers.get("last-event-id") or request.query_params.get("last_event_id", "")
    try:
        return parse_position(text) if text else None
    except ValueError as error:
        raise HTTPException(400, f"Last-Event-ID: {error}") from None


# --- what is asked ---
def _known(request: Request, *names: str) -> dict[str, str]:
    """The query, each name once and known. Raises HTTPException."""
    asked: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            raise HTTPException(400, f"there is no parameter {name[:40]!r}; there are {', '.join(names) or 'none'}")
        if name in asked:
            raise HTTPException(400, f"{name} is given twice; its values are separated by commas")
        asked[name] = value
    return asked


def _listed(asked: dict[str, str], name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if not (text := asked.get(name, "")):
        return known
    wanted = tuple(text.split(","))
    for one in wanted:
        if one not in known:
            raise HTTPException(400, f"{name}: there is no {one[:40]!r}; there are {', '.join(known)}")
    return wanted


def _view(asked: dict[str, str]) -> View:
    try:
        return View.of(*(tuple(asked[name].split(",")) if asked.get(name) else () for name in ("panes", "strategies")))
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


# --- what is answered ---
async def _told(read: Callable[[], Any]) -> Response:
    return Response(
        orjson.dumps(await asyncio.to_thread(read)), media_type="application/json", headers=_NO_STORE
    )


async def _page(path: Any, request: Request) -> Response:
    return FileResponse(path, headers={"cache-control": "no-cache"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.detail, error.status_code, dict(error.headers or {}))


async def _away(request: Request, error: Exception) -> Response:
    return _error(f"Redis does not answer: {type(error).__name__}", 503, {})


def _error(line: str, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps({"error": line}), status, {**headers, **_NO_STORE}, "application/json")
