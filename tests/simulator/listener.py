"""A plain client of the simulator's sockets: it reads frames as they come and never judges them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pipeline.simulator import Simulator

Frame = list[dict[str, Any]]
WAIT_S = 10.0


class Listener:
    """One open socket. Every read has a deadline."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def raw(self, timeout: float = WAIT_S) -> bytes:
        message = self.socket.recv(timeout=timeout, decode=False)
        return bytes(message)

    def frame(self, timeout: float = WAIT_S) -> Frame:
        return json.loads(self.raw(timeout))

    def say(self, action: str, params: str) -> None:
        self.socket.send(json.dumps({"action": action, "params": params}))

    def log_in(self, key: str = "sim") -> Frame:
        """The frame that answers auth; the greeting before it is read too."""
        assert self.frame() == [{"ev": "status", "status": "connected", "message": "Connected Successfully"}]
        self.say("auth", key)
        return self.frame()

    def subscribe(self, *topics: str) -> Frame:
        self.say("subscribe", ",".join(topics))
        return self.frame()

    def ended(self) -> int:
        """Read on until the connection ends; its close code (1006 without a close frame)."""
        try:
            while True:
                self.raw()
        except ConnectionClosed:
            return self.socket.close_code or 0


@contextmanager
def listening(sim: Simulator, cluster: str = "options", *, log_in: bool = True) -> Iterator[Listener]:
    """A socket, authenticated unless told otherwise."""
    with connect(
        f"{sim.socket_url}/{cluster}", max_size=None, compression=None, ping_interval=None, close_timeout=0.2
    ) as socket:
        listener = Listener(socket)
        if log_in:
            assert listener.log_in() == [{"ev": "status", "status": "auth_success", "message": "authenticated"}]
        yield listener


def messages(frame: Frame) -> list[str]:
    return [event["message"] for event in frame]
