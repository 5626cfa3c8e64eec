"""Who may read: everybody on loopback; beyond it who shows the token, in a header or by the cookie of a login."""

import hashlib
import hmac
import time
from collections import OrderedDict
from urllib.parse import parse_qs, urlsplit

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import metrics
from pipeline.gateway.address import is_loopback
from pipeline.gateway.answers import refusal
from pipeline.settings import Settings

COOKIE = "marketswarm"
SESSION_S = 7 * 24 * 3600
_OPEN = ("/healthz", "/readyz", "/login")
_READING = ("GET", "HEAD", "OPTIONS")
_FORM_BYTES = 4096
_TRIES, _TRIES_S, _TRIERS = 10, 60.0, 10_000
"""So many wrong tokens from one address within so long, and it must wait; so many addresses are remembered."""
_LOGGED_IN = b"dashboard"

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

_FORM = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>MarketSwarm: log in</title>
</head>
<body>
<main>
<h1>MarketSwarm</h1>
<form method="post" action="/login">
<p><label for="token">Token</label></p>
<p><input id="token" name="token" type="password" autocomplete="current-password" required autofocus></p>
<p><button>Log in</button></p>
</form>
{told}
</main>
</body>
</html>
"""


class Access:
    """In front of everything: security headers, the token, and logging in and out."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._token = settings.gateway_token.get_secret_value().encode()
        self._secure = settings.gateway_tls_cert is not None
        key = hashlib.sha256(b"marketswarm session " + self._token).digest()  # another token ends every session
        self._signer = TimestampSigner(key, salt="marketswarm.gateway", digest_method=hashlib.sha256)
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        answer = await self._answer(request)
        await (self._app if answer is None else answer)(scope, receive, with_headers)

    async def _answer(self, request: Request) -> Response | None:
        """None: it may pass."""
        path = request.url.path
        if request.method not in _READING and not _same_site(request):
            return _refused(403, "asked by another site", "origin")
        if not self._token:
            if path in ("/login", "/logout"):
                return RedirectResponse("/", 303)
            if not _names_loopback(request.headers):
                return _refused(403, "without MASSIVE_GATEWAY_TOKEN only names of this machine's loopback are served",
                                "host")
            return None
        if path == "/login":
            return await self._login(request)
        if path == "/logout" and request.method == "POST":
            left = RedirectResponse("/login", 303)
            left.delete_cookie(COOKIE)
            return left
        if path in _OPEN or self._knows(request):
            return None
        if path == "/":
            return RedirectResponse("/login", 303)
        answer = _refused(401, "show the token: Authorization: Bearer ..., or log in at /login", "token")
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    def _knows(self, request: Request) -> bool:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme:
            return scheme.lower() == "bearer" and self._is_token(shown.strip(), request)
        cookie = request.cookies.get(COOKIE, "")
        try:
            return self._signer.unsign(cookie, max_age=SESSION_S) == _LOGGED_IN
        except BadSignature:
            return False

    def _is_token(self, shown: str, request: Request) -> bool:
        """A wrong one is remembered against its address, so that tokens cannot be tried out."""
        address = request.client.host if request.client else ""
        if self._waits(address):
            return False
        if hmac.compare_digest(shown.encode(errors="replace"), self._token):
            self._tries.pop(address, None)
            return True
        self._tries.setdefault(address, []).append(time.monotonic())
        if len(self._tries) > _TRIERS:
            self._tries.popitem(last=False)
        return False

    def _waits(self, address: str) -> bool:
        tries = self._tries.get(address, [])
        tries[:] = [at for at in tries if time.monotonic() - at < _TRIES_S]
        return len(tries) >= _TRIES

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(_FORM.format(told=""), headers={"cache-control": "no-store"})
        if self._waits(request.client.host if request.client else ""):
            return _refused(429, "too many wrong tokens: wait a minute", "tries")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _FORM_BYTES:
                return _refused(413, f"a form has at most {_FORM_BYTES} bytes", "form")
        shown = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        if not self._is_token(shown.strip(), request):
            metrics.GATEWAY_REFUSED.labels("token").inc()
            return HTMLResponse(_FORM.format(told="<p role=\"alert\">This is not the token.</p>"), 401,
                                {"cache-control": "no-store"})
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, self._signer.sign(_LOGGED_IN).decode(), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=self._secure or request.url.scheme == "https",
        )
        return answer


def _refused(status: int, line: str, reason: str) -> Response:
    metrics.GATEWAY_REFUSED.labels(reason).inc()
    return refusal(status, line)


def _same_site(request: Request) -> bool:
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")


def _names_loopback(headers: Headers) -> bool:
    """A page of another site whose name is made to point here names that site."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return False
    return is_loopback(name or "")
