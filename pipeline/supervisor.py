"""The processes of `up`: started from the Procfile, their lines printed in one place, each that dies started again.

Built on honcho's Procfile, Process and Printer. Its Manager ends everything when one process ends, which is the
opposite of what a pool of interchangeable workers needs; so the loop is here.
"""

import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

from honcho.colour import get_colours
from honcho.printer import Message, Printer
from honcho.process import Popen, Process

from pipeline import tether

_BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_S = 30.0  # one that lived for so long begins with the shortest backoff again
_KILL_S = 5.0  # after SIGKILL only the kernel is waited for
_SPEAKER = "up"


class _Tethered(Process):  # type: ignore[misc]
    """A honcho process that is run without a shell in between, holds the tether, and leads a session of its own."""

    def __init__(self, cmd: str, name: str, colour: str, env: dict[str, str], tether_fd: int) -> None:
        super().__init__(cmd, name=name, colour=colour, env={**env, tether.VARIABLE: str(tether_fd)})
        self._tether_fd = tether_fd
        self._child_ctor = self._launch

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        try:
            super().run(events, ignore_signals)
        except OSError as error:
            self._send_message(f"cannot start: {error.strerror}\n")
            self._send_message({"returncode": 127}, type="stop")

    def _launch(self, cmd: str, env: dict[str, str], cwd: str | None) -> subprocess.Popen[bytes]:
        words = shlex.split(cmd)
        if words[0] == "marketswarm":  # this very installation, whether or not its folder is on PATH
            words = [sys.executable, "-m", "pipeline.cli", *words[1:]]
        child: subprocess.Popen[bytes] = Popen(
            words, env=env, cwd=cwd, shell=False, stdin=subprocess.DEVNULL, pass_fds=(self._tether_fd,)
        )
        return child

    def signal_group(self, number: int) -> None:
        """To the process and to whatever it started. Nothing where it has ended."""
        child = self._child
        if child is not None and child.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)


@dataclass(slots=True)
class _Slot:
    """One line of the plan and the process that fills it now."""

    cmd: str
    env: dict[str, str]
    colour: str
    process: _Tethered | None = None
    pid: int = 0
    alive: bool = False
    began: float = 0.0
    deaths: int = 0
    restart_at: float | None = None
    wanted: bool = field(default=True)


class Supervisor:
    """Runs named processes until told to stop. Everything but the reading of their output is on the caller's thread."""

    def __init__(self, printer: Printer) -> None:
        self.on_change: Callable[[], None] = lambda: None  # a process has started or ended
        self.speechless = False  # nobody reads what we print
        self._printer = printer
        self._printer.width = max(printer.width, len(_SPEAKER))
        self._slots: dict[str, _Slot] = {}
        self._events: queue.Queue[Message] = queue.Queue()
        self._colours = get_colours()
        self._tether, self._end = os.pipe()  # the end is never handed over: it closes with this process

    def add(self, name: str, cmd: str, env: Mapping[str, str]) -> None:
        """A process to run; nothing is started before ``start``."""
        if name in self._slots:
            raise ValueError(f"two processes called {name}")
        self._slots[name] = _Slot(cmd, dict(env), next(self._colours))
        self._printer.width = max(self._printer.width, len(name))

    def start(self, name: str) -> None:
        slot = self._slots[name]
        process = _Tethered(slot.cmd, name, slot.colour, slot.env, self._tether)
        slot.process, slot.alive, slot.began, slot.restart_at = process, True, time.monotonic(), None
        threading.Thread(target=process.run, args=(self._events,), name=f"read {name}", daemon=True).start()

    def has(self, name: str) -> bool:
        return name in self._slots

    def write_to(self, output: TextIO) -> None:
        self._printer.output = output

    def deaths(self, name: str) -> int:
        """How often it has ended without being told to, since it last lived for long."""
        return self._slots[name].deaths

    def pids(self) -> dict[str, int]:
        return {name: slot.pid for name, slot in self._slots.items() if slot.alive and slot.pid}

    def say(self, text: str, speaker: str = _SPEAKER) -> None:
        """A line of our own among theirs."""
        self._print(Message(type="line", data=text, time=datetime.now(), name=speaker, colour=None))

    def turn(self, wait_s: float) -> None:
        """Print what they said, note who ended, start again who is due. Waits up to wait_s for the first event."""
        deadline = time.monotonic() + wait_s
        while True:
            self._restart_due()
            try:
                message = self._events.get(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    return
                continue
            self._take(message)

    def stop(self, names: list[str], grace_s: float, hurry: Callable[[], bool]) -> list[str]:
        """SIGTERM to the named; SIGKILL to those left after grace_s or as soon as ``hurry``. Answers who was killed."""
        for name in names:
            slot = self._slots[name]
            slot.wanted, slot.restart_at = False, None
            self._signal(slot, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self._left(names) and time.monotonic() < deadline and not hurry():
            self.turn(0.05)
        killed = self._left(names)
        for name in killed:
            self._signal(self._slots[name], signal.SIGKILL)
        deadline = time.monotonic() + _KILL_S
        while self._left(names) and time.monotonic() < deadline:
            self.turn(0.05)
        return killed

    def close(self) -> None:
        """Let go of the tether: whatever might still run ends by itself."""
        os.close(self._end)
        os.close(self._tether)

    def _left(self, names: list[str]) -> list[str]:
        return [name for name in names if self._slots[name].alive]

    def _signal(self, slot: _Slot, number: int) -> None:
        if slot.alive and slot.process is not None:
            slot.process.signal_group(number)

    def _take(self, message: Message) -> None:
        if message.type == "line":
            self._print(message)
            return
        slot = self._slots[message.name]
        if message.type == "start":
            slot.pid = message.data["pid"]
            if not slot.wanted:  # told to stop while it was being started
                self._signal(slot, signal.SIGTERM)
        else:
            slot.alive, slot.pid = False, 0
            if slot.wanted:
                self._plan_restart(message.name, slot, message.data["returncode"])
        self.on_change()

    def _plan_restart(self, name: str, slot: _Slot, status: int) -> None:
        if time.monotonic() - slot.began >= _STEADY_S:
            slot.deaths = 0
        wait_s = _BACKOFF_S[min(slot.deaths, len(_BACKOFF_S) - 1)]
        slot.deaths += 1
        slot.restart_at = time.monotonic() + wait_s
        self.say(f"{name} {_how(status)}; started again in {wait_s:g} s")

    def _restart_due(self) -> None:
        now = time.monotonic()
        for name, slot in self._slots.items():
            if slot.restart_at is not None and slot.restart_at <= now:
                self.start(name)

    def _print(self, message: Message) -> None:
        if self.speechless:
            return
        try:
            self._printer.write(message)
        except (OSError, ValueError):  # the terminal or the pipe behind us is gone
            self.speechless = True


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def parse_scale(text: str, known: list[str]) -> dict[str, int]:
    """``hydrate=4,calculate=2`` as numbers of processes. Raises ValueError naming what is wrong."""
    scale: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in known:
            raise ValueError(f"{name!r} is no stage of the Procfile; there are {', '.join(known)}")
        if not number.isdigit() or int(number) > 64:
            raise ValueError(f"{part!r} is not STAGE=NUMBER with a number from 0 to 64")
        scale[name] = int(number)
    return scale
