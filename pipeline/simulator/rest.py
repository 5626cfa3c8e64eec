"""The provider's REST endpoints over one market, with every way they fail."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pipeline.contract import provider_symbol
from pipeline.simulator.clock import SessionClock, market_status
from pipeline.simulator.fault import FaultBoard
from pipeline.simulator.market import Market
from pipeline.simulator.playback import Playback
from pipeline.simulator.query import QueryError, page, read_query, write_cursor
from pipeline.simulator.row import chain_rows, last_trade, reference_row, underlying_row, unified_row
from pipeline.simulator.spoil import spoil_rows

_CHAIN_LIMIT = 250
_REFERENCE_LIMIT = 1_000
_UPGRADE = "Please upgrade your plan at https://massive.com/pricing"
_NOT_ENTITLED = f"You are not entitled to this data. {_UPGRADE}"
_TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://massive.com/pricing"
)
_FOREIGN_ORIGIN = "http://elsewhere.invalid"

Body = dict[str, Any]


class HalfResponse(Response):
    """Promises the whole body and ends the connection after a part of it."""

    def __init__(self, content: bytes, share: float) -> None:
        super().__init__(content, media_type="application/json")
        self._share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part = bytes(self.body[: int(len(self.body) * self._share)])
        # Returning without the rest makes the server end the connection.
        await send({"type": "http.response.body", "body": part, "more_body": True})


class Api:
    """All endpoints. ``requests`` counts by path, ``pages`` numbers the chain pages served."""

    def __init__(
        self, market: Market, clock: SessionClock, faults: FaultBoard, keys: frozenset[str] | None, seed: int,
        playback: Playback | None = None,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self._market, self._clock, self._faults, self._keys, self._seed = market, clock, faults, keys, seed
        self._playback = playback

    def app(self) -> Starlette:
        endpoints: dict[str, Callable[[Request], Body]] = {
            "/v1/marketstatus/now": self._market_status,
            "/v3/snapshot/options/{underlying}": self._chain,
            "/v3/snapshot/options/{underlying}/{ticker}": self._contract,
            "/v3/snapshot": self._unified,
            "/v3/snapshot/indices": self._indices,
            "/v3/reference/options/contracts": self._reference,
            "/v2/last/trade/{ticker}": self._last_trade,
        }
        routes = [Route(path, self._endpoint(path, answer), methods=["GET"]) for path, answer in endpoints.items()]
        return Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})

    def _endpoint(self, path: str, answer: Callable[[Request], Body]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            self.requests[path] += 1
            number = self.requests.total()
            request.state.number, request.state.id = number, f"{self._seed & 0xFFFFFFFF:08x}{number:024x}"
            slow = self._faults.strike("slow-page")
            if slow is not None:
                await asyncio.sleep(slow.number)
            refusal = self._unauthorized(request) or self._refusal(request)
            if refusal is not None:
                return refusal
            try:
                body = answer(request)
            except QueryError as error:
                return self._error(request, 400, "ERROR", str(error))
            except HTTPException as error:
                return self._error(request, error.status_code, "NOT_FOUND", error.detail)
            return self._page(body)

        return respond

    def _error(self, request: Request, code: int, status: str, text: str, name: str = "error") -> Response:
        return _json({"status": status, "request_id": request.state.id, name: text}, code)

    def _unauthorized(self, request: Request) -> Response | None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = bearer.strip() if scheme.lower() == "bearer" else request.query_params.get("apiKey", "")
        if not key:
            return self._error(request, 401, "ERROR", "API Key was not provided")
        if self._faults.strike("401") or (self._keys is not None and key not in self._keys):
            return self._error(request, 401, "ERROR", "Unknown API Key")
        return None

    def _refusal(self, request: Request) -> Response | None:
        strike = self._faults.strike
        if strike("403"):
            name = "error" if "/options/" in request.url.path else "message"
            return self._error(request, 403, "NOT_AUTHORIZED", _NOT_ENTITLED, name)
        if strike("404"):
            return self._error(request, 404, "NOT_FOUND", "Options contract not found.")
        if strike("404-route"):
            return PlainTextResponse("404 page not found", 404)
        if (fault := strike("429")) is not None:
            answer = self._error(request, 429, "ERROR", _TOO_MANY)
            answer.headers["Retry-After"] = f"{fault.number:g}"
            return answer
        if strike("429-bare"):
            return self._error(request, 429, "ERROR", _TOO_MANY)
        if strike("429-empty"):
            return Response(status_code=429)
        for code, words in ((500, "Internal Server Error"), (502, "Bad Gateway")):
            if strike(str(code)):
                return Response(f"<html><body>{code} {words}</body></html>", code, media_type="text/html")
        return Response(status_code=503) if strike("503-empty") else None

    def _page(self, body: Body) -> Response:
        oversized = self._faults.strike("oversized-page")
        if oversized is not None:
            body["padding"] = "x" * int(oversized.number * 1024 * 1024)
        content = orjson.dumps(body)
        if self._faults.strike("malformed-page"):
            content = content[: len(content) * 2 // 3]
        if self._faults.strike("nan-page"):
            content = content[:-1] + b',"count":NaN}'
        half = self._faults.strike("half-page")
        if half is not None:
            return HalfResponse(content, half.number)
        return Response(content, media_type="application/json")

    def _market_status(self, _request: Request) -> Body:
        return market_status(self._clock.now_ns())

    def _symbol(self, spelled: str) -> str | None:
        """The symbol a path names: the snapshot wants ``I:SPX``, and knows no plain ``SPX``."""
        return next((s for s in self._market.symbols if provider_symbol(s) == spelled), None)

    def _chain(self, request: Request) -> Body:
        query = read_query(request.query_params, _CHAIN_LIMIT)
        symbol = self._symbol(request.path_params["underlying"])
        body: Body = {"request_id": request.state.id, "results": [], "status": "OK"}
        if symbol is None or self._faults.strike("empty-chain"):
            return body
        vanish = self._faults.strike("vanish")
        rows, following = page(self._market, symbol, query, vanish.number if vanish else 0.0)
        if following is not None:
            if self._faults.strike("cursor-loop"):
                following = query
            origin = _FOREIGN_ORIGIN if self._faults.strike("foreign-next") else str(request.base_url).rstrip("/")
            body["next_url"] = f"{origin}{request.url.path}?cursor={write_cursor(following)}"
        self._faults.strike("delayed")
        if self._playback is not None:
            found = self._playback.rows(self._clock.now_ns(), [self._market.ticker[row] for row in rows])
        else:
            found = chain_rows(self._market, rows, self._faults)
        body["results"] = spoil_rows(found, self._faults, request.state.number)
        return body

    def _contract(self, request: Request) -> Body:
        symbol, ticker = self._symbol(request.path_params["underlying"]), request.path_params["ticker"]
        row = self._market.row_of.get(ticker)
        if row is None or self._market.symbols[self._market.symbol[row]] != symbol:
            raise HTTPException(404, "Options contract not found.")
        results = spoil_rows(chain_rows(self._market, [row], self._faults), self._faults, request.state.number)
        return {"request_id": request.state.id, "results": results[0], "status": "OK"}

    def _unified(self, request: Request) -> Body:
        tickers = _any_of(request)
        if len(tickers) > _CHAIN_LIMIT:
            raise QueryError(f"ticker.any_of: more than {_CHAIN_LIMIT} tickers")
        results = [unified_row(self._market, ticker, self._faults) for ticker in tickers]
        return {"request_id": request.state.id, "results": results, "status": "OK"}

    def _indices(self, request: Request) -> Body:
        known = {
            self._market.index_ticker(n): n for n in range(len(self._market.symbols)) if self._market.index[n]
        }  # fmt: skip
        results = [
            underlying_row(self._market, known[ticker])
            if ticker in known
            else {"error": "NOT_FOUND", "message": "Ticker not found.", "ticker": ticker}
            for ticker in (_any_of(request) or list(known))
        ]
        if self._faults.strike("no-underlying"):
            results = [
                {"error": "NOT_ENTITLED", "message": "Not entitled to this ticker.", "ticker": r["ticker"]}
                for r in results
            ]
        return {"request_id": request.state.id, "results": results, "status": "OK"}

    def _reference(self, request: Request) -> Body:
        query = read_query(request.query_params, _REFERENCE_LIMIT)
        body: Body = {"request_id": request.state.id, "results": [], "status": "OK"}
        symbol = dict(query.filters).get("underlying_ticker")
        if symbol not in self._market.symbols:
            return body
        rows, following = page(self._market, symbol, query)
        body["results"] = [reference_row(self._market, row) for row in rows]
        if following is not None:
            cursor = write_cursor(following)
            body["next_url"] = f"{str(request.base_url).rstrip('/')}{request.url.path}?cursor={cursor}"
        return body

    def _last_trade(self, request: Request) -> Body:
        row = self._market.row_of.get(request.path_params["ticker"])
        if row is None or not self._market.traded[row]:
            raise HTTPException(404, "Data not found.")
        return {"request_id": request.state.id, "results": last_trade(self._market, row), "status": "OK"}


def _any_of(request: Request) -> list[str]:
    return [ticker for ticker in request.query_params.get("ticker.any_of", "").split(",") if ticker]


def _json(body: Body, code: int) -> Response:
    return Response(orjson.dumps(body), code, media_type="application/json")


async def _no_route(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("404 page not found", 404)
