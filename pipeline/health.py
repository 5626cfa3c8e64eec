"""What a process tells those who watch it: /metrics, /healthz (it gets on) and /readyz (it does its work)."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_POLL_S = 0.1  # how long close() may wait for the accepting thread to look up
_CLIENT_TIMEOUT_S = 5.0  # a scraper that stops half-way must not hold its thread for ever
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound to


class HealthServer:
    """A small HTTP server on its own threads. ``fault`` answers why the process is not ready, or an empty string;
    ``stuck`` why it should be started again."""

    def __init__(self, host: str, port: int, fault: Callable[[], str], stuck: Callable[[], str] = lambda: "") -> None:
        """Nothing is bound before ``start``. Port 0: any free one, then found in ``address``."""
        self.documents: dict[str, Callable[[], bytes]] = {}
        """Further paths, and what makes their JSON; an OSError or RedisError of it is answered with 503."""
        self._host = host
        self._port = port
        self._fault = fault
        self._stuck = stuck
        self._metrics = make_wsgi_app()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve. Raises OSError, naming the address, where it cannot be bound."""
        try:
            server = _Server(self._host, self._port)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {self._host}:{self._port}: {error.strerror}") from None
        server.set_app(self._answer)
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port. Does nothing where nothing was started."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None

    @property
    def address(self) -> str:
        """``http://HOST:PORT`` that others can reach; an empty string while nothing is served."""
        if self._server is None:
            return ""
        host = socket.gethostname() if self._host in _EVERYWHERE else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}"

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return _text(start_response, "405 Method Not Allowed", "only GET")
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if path == "/healthz":
            stuck = self._stuck()
            return _text(start_response, "503 Service Unavailable" if stuck else "200 OK", stuck or "alive")
        if path == "/readyz":
            fault = self._fault()
            return _text(start_response, "503 Service Unavailable" if fault else "200 OK", fault or "ready")
        if path in self.documents:
            try:
                return _body(start_response, "200 OK", self.documents[path](), "application/json")
            except (RedisError, OSError) as error:
                return _text(start_response, "503 Service Unavailable", type(error).__name__)
        there = ["/metrics", "/healthz", "/readyz", *self.documents]
        return _text(start_response, "404 Not Found", f"there are {', '.join(there)}")


def _text(start_response: "StartResponse", status: str, text: str) -> list[bytes]:
    return _body(start_response, status, f"{text}\n".encode(), "text/plain; charset=utf-8")


def _body(start_response: "StartResponse", status: str, body: bytes, kind: str) -> list[bytes]:
    start_response(
        status,
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ],
    )
    return [body]


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """A scrape every few seconds is no event."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The standard server asks the name service for its own name here, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no event either."""
