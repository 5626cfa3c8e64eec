"""Processes that do what they are told, one thing at a time: the load and its yardstick must not share an interpreter
with each other, nor with what measures them."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from pipeline.bench.measure import BenchError

_LEAVE_S = 5.0


class Hand:
    """One such process. It ends with this one, whichever way this one ends: its end of the pipe closes."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would take the threads' locks along
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Hand":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ours.close()
        self._process.join(_LEAVE_S if kind is None else 0.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def begin(self, function: Callable[..., object], *arguments: object) -> None:
        """``function`` is importable, and what it takes and returns can be pickled."""
        self._ours.send((function, arguments))

    def result(self, patience_s: float) -> Any:
        """What the function returned. Raises BenchError where it failed, or does not come to an end."""
        deadline = time.monotonic() + patience_s
        try:
            if not self._ours.poll(max(0.0, deadline - time.monotonic())):
                raise BenchError(f"a process of the load did not come to an end within {patience_s:.0f} s")
            fine, answer = self._ours.recv()
        except EOFError:
            raise BenchError("a process of the load has died") from None
        if not fine:
            raise BenchError(f"a process of the load failed: {answer}")
        return answer


def _serve(pipe: Connection) -> None:
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, function(*arguments)
        except Exception as error:  # whatever it is: the one who asked must hear of it
            answer = False, f"{type(error).__name__}: {error}"
        try:
            pipe.send(answer)
        except OSError:
            return
