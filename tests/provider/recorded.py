"""A tiny provider on a real socket that gives recorded answers, word for word."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = ()  # type: ignore[assignment]


@contextmanager
def answering(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Answers by path, without the query; the address of the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0], Answer(b"404 page not found", 404, "text/plain"))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in dict(answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def recorded(shared_data: Path, name: str) -> bytes:
    """One recorded answer. Skips, saying so, where it is absent."""
    path = shared_data / "data" / "provider" / name
    if not path.is_file():
        pytest.skip(f"no recorded answer {name} beside this checkout")
    return path.read_bytes()
