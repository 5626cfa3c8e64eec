"""A link to a real server that a test can cut and mend: what is on its way is lost, as when a cable is pulled."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Link:
    """Carries bytes between clients and the server. ``url`` is the server's, through the link."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        port = self._listener.getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        self.url = f"{parts.scheme}://{credentials + '@' if credentials else ''}127.0.0.1:{port}{parts.path}"
        self._whole = threading.Event()
        self._whole.set()
        self._ended = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    def cut(self) -> None:
        """End every connection, and each new one at once."""
        self._whole.clear()
        for pair in list(self._pairs):
            for side in pair:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._ended.set()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            if not self._whole.is_set():
                client.close()
                continue
            with suppress(OSError):
                pair = (client, socket.create_connection(self._server))
                self._pairs.append(pair)
                threading.Thread(target=self._carry, args=pair, name="link", daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as ready, suppress(OSError):
            for side in other:
                ready.register(side, selectors.EVENT_READ)
            while True:
                for file in [key.fileobj for key, _ in ready.select()]:
                    side = client if file is client else server
                    piece = side.recv(65536)
                    if not piece:
                        raise OSError
                    other[side].sendall(piece)
        for side in other:
            side.close()


@contextmanager
def link_to(url: str) -> Iterator[Link]:
    link = Link(url)
    try:
        yield link
    finally:
        link.close()
