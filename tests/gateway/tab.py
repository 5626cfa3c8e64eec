"""A browser's tab in a thread: reads the stream over a real socket and hands it to its page."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urlsplit

from tests.gateway.page import Inflated, Page


class Tab:
    """EventSource's part: connects again whenever it is cut off, and says where it was."""

    def __init__(self, url: str, query: str = "", gzip: bool = True) -> None:
        self.page = Page()
        self.headers: dict[str, str] = {}
        self.lock = threading.Lock()
        self.error: Exception | None = None
        self.connections = 0
        self.cut_after: int | None = None
        """Bytes to be read before the connection is cut, once."""
        self._host = urlsplit(url).netloc
        self._query = query
        self._gzip = gzip
        self._closed = threading.Event()
        self._connection: HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._read()
            except (OSError, HTTPException):
                self._closed.wait(0.05)
            except Exception as error:
                self.error = error
                return

    def _read(self) -> None:
        self._connection = HTTPConnection(self._host, timeout=30)
        headers = {"Accept-Encoding": "gzip" if self._gzip else "identity"}
        if self.page.last_id:
            headers["Last-Event-ID"] = self.page.last_id
        try:
            self._connection.request("GET", f"/sse?{self._query}", headers=headers)
            with self._connection.getresponse() as answer:
                self._follow(answer)
        finally:
            self._connection.close()

    def _follow(self, answer: HTTPResponse) -> None:
        assert answer.status == 200, answer.read()
        self.headers = {name.lower(): told for name, told in answer.getheaders()}
        self.connections += 1
        inflated = Inflated(self.headers.get("content-encoding") == "gzip")
        self.page.connected()
        while not self._closed.is_set():
            piece = answer.read1(65536 if self.cut_after is None else max(1, self.cut_after))
            with self.lock:
                self.page.feed(inflated.take(piece))
                if self.cut_after is not None:
                    self.cut_after -= len(piece)
                    if self.cut_after <= 0:
                        self.cut_after = None
                        return
            if not piece:
                return

    def cut(self) -> None:
        """Wherever it is."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed.set()
        self.cut()
        self._thread.join(10)
        if self.error is not None:
            raise self.error


class Reading(Page):
    """A page that reads by itself, when it is told to, what comes over a socket that has asked already."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__()
        self._answer = HTTPResponse(client)
        self._answer.begin()

    def read_more(self) -> None:
        piece = self._answer.read1(4096)
        assert piece, "the stream ended"
        self.feed(piece)


@contextmanager
def tab(url: str, query: str = "", gzip: bool = True) -> Iterator[Tab]:
    opened = Tab(url, query, gzip)
    try:
        yield opened
    finally:
        opened.close()
