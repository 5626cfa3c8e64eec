"""A browser's tab in a thread: reads the stream over a real socket and hands it to its page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.gateway.page import Inflated, Page


class Tab:
    def __init__(self, url: str, query: str = "", gzip: bool = True) -> None:
        self.page = Page()
        self.headers: dict[str, str] = {}
        self.lock = threading.Lock()
        self.error: Exception | None = None
        self._url = f"{url}/sse?{query}"
        self._gzip = gzip
        self._closed = threading.Event()
        self._client = httpx.Client(timeout=30)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._read()
            except httpx.HTTPError:
                self._closed.wait(0.05)
            except Exception as error:
                self.error = error
                return

    def _read(self) -> None:
        headers = {"accept-encoding": "gzip" if self._gzip else "identity"}
        if self.page.last_id:
            headers["last-event-id"] = self.page.last_id
        with self._client.stream("GET", self._url, headers=headers) as answer:
            self.headers = dict(answer.headers)
            inflated = Inflated(answer.headers.get("content-encoding") == "gzip")
            self.page.connected()
            for piece in answer.iter_raw():
                with self.lock:
                    self.page.feed(inflated.take(piece))
                if self._closed.is_set():
                    return

    def close(self) -> None:
        self._closed.set()
        self._thread.join(10)
        self._client.close()
        if self.error is not None:
            raise self.error


@contextmanager
def tab(url: str, query: str = "", gzip: bool = True) -> Iterator[Tab]:
    opened = Tab(url, query, gzip)
    try:
        yield opened
    finally:
        opened.close()
