"""The Lua scripts of ``lua/``, loaded and called with names, not positions.

A script's header says what its keys and arguments are (``KEYS[1] stream ...``); calls name them, and a call that names
too few or too many fails before it reaches the server. ``-- @include NAME`` puts ``lua/include/NAME.lua`` in its place,
so that a rule that several scripts keep is written once. Structured arguments travel as one msgpack blob.
"""

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
from redis.commands.core import Script
from redis.exceptions import NoScriptError, ResponseError
from walrus import Database

from pipeline import metrics
from pipeline.database import Moved
from pipeline.shipped import shipped

_NAMED = re.compile(r"(KEYS|ARGV)\[(\d+)\] +(\w+)")
_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)

Argument = str | bytes | int | float | list[Any] | dict[str, Any]

_REFUSALS = frozenset({
    b"gone", b"epochs", b"stale", b"wait", b"retired", b"held", b"clean", b"unfinished", b"unknown", b"lost",
    b"incomplete", b"superseded",
})
"""Words with which a script says that it changed nothing that its entries were for; others say so by a number."""
_REFUSAL_NUMBERS: Mapping[str, Mapping[int, str]] = {
    "commit_panes": {-1: "stale", -2: "retired"}, "publish": {0: "stale", -1: "not_as_stored"},
    "refresh": {-1: "gone", -2: "retired"}, "finish_chain": {0: "gone"}, "stage": {0: "gone"},
}
_OF_MANY = frozenset({"claim_panes", "commit_panes"})
"""Scripts that answer of each thing that they were asked to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """One script: its text with the includes in place, and the names of its keys and arguments in order."""

    text: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    named: tuple[frozenset[str], frozenset[str]]


@cache
def sources() -> Mapping[str, Source]:
    """Every script by name. Raises ValueError for a script that breaks the rules of the folder."""
    folder = shipped("lua")
    return {path.stem: _read(path) for path in sorted(folder.glob("*.lua"))}


def _read(path: Path) -> Source:
    text = path.read_text()
    if not text.startswith("#!lua"):
        raise ValueError(f"{path.name} does not begin with #!lua: it would run with memory full and across slots")
    named: dict[str, dict[int, str]] = {"KEYS": {}, "ARGV": {}}
    for kind, position, name in _NAMED.findall(text.partition("]]\n")[0]):
        named[kind][int(position)] = name
    for kind, names in named.items():
        if sorted(names) != list(range(1, len(names) + 1)):
            raise ValueError(f"{path.name} does not name each of its {kind} once")
    text = _INCLUDE.sub(lambda match: (path.parent / "include" / f"{match[1]}.lua").read_text().rstrip(), text)
    keys, arguments = (tuple(names[i] for i in sorted(names)) for names in named.values())
    return Source(text, keys, arguments, (frozenset(keys), frozenset(arguments)))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script."""

    script: str
    keys: Mapping[str, str]
    arguments: Mapping[str, Argument]


class Scripts:
    """The scripts on one connection pool. NOSCRIPT after a server restart is healed by the client library."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._scripts: dict[str, Script] = {
            name: database.register_script(source.text) for name, source in sources().items()
        }

    def sha(self, name: str) -> str:
        """Under which the server knows a script."""
        return str(self._scripts[name].sha)

    def run(self, name: str, keys: Mapping[str, str], arguments: Mapping[str, Argument]) -> Any:
        """Run one script. Lists and dicts are packed; what it returns is what its header says, strings as bytes."""
        ordered = _ordered(Call(name, keys, arguments))
        began = time.perf_counter()
        try:
            reply = self._scripts[name](*ordered)
        finally:
            _count_call(name, time.perf_counter() - began)
        _count_refusal(name, reply)
        return reply

    @contextmanager
    def conversation(self) -> "Iterator[Conversation]":
        """Calls on one connection, sent without waiting for the replies of those before. Who leaves before every reply
        was read does not know what the server did, as after a lost connection."""
        pool = self._database.connection_pool
        connection: Any = pool.get_connection()
        conversation = Conversation(self, connection)
        try:
            yield conversation
        finally:
            if conversation.unanswered:
                connection.disconnect()
            pool.release(connection)

    def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several calls on one way to the server and back; others' calls may come between. Their replies in order.

        Raises the first error among the replies: what the other calls did is done.
        """
        error: ResponseError | None = None
        replies = []
        with self.conversation() as server:
            for call in calls:
                server.send(call)
            for _ in calls:
                try:
                    replies.append(server.reply())
                except ResponseError as of_one:
                    error = error or of_one
        if error is not None:
            raise error
        return replies


class Conversation:
    """See Scripts.conversation."""

    def __init__(self, scripts: Scripts, connection: Any) -> None:
        self.unanswered: deque[tuple[Call, float]] = deque()
        self._scripts = scripts
        self._connection = connection
        self._unsent: list[tuple[str | bytes | int | float, ...]] = []
        self._moved = False
        self._heard = 0.0

    def send(self, call: Call) -> None:
        """It goes with the next ``flush``, or when a reply is asked for: one write for many calls costs half."""
        keys, arguments = _ordered(call)
        self.unanswered.append((call, time.perf_counter()))
        self._unsent.append(("EVALSHA", self._scripts.sha(call.script), len(keys), *keys, *arguments))

    def flush(self) -> None:
        """The server runs what was sent while something else is done here."""
        unsent, self._unsent = self._unsent, []
        if unsent and not self._moved:
            self._connection.send_packed_command(self._connection.pack_commands(unsent))

    def reply(self) -> Any:
        """That of the first call that has none yet. A lost connection is raised, not mended: whoever reads own pending
        entries next knows."""
        self.flush()
        call, sent = self.unanswered[0]
        try:
            if self._moved:
                raise Moved
            reply = self._connection.read_response()
        except (NoScriptError, Moved) as error:  # nothing was done
            self._moved = isinstance(error, Moved)  # nor was anything of what was sent after it
            self.unanswered.popleft()
            return self._scripts.run(call.script, call.keys, call.arguments)
        except ResponseError:
            self.unanswered.popleft()
            raise
        self.unanswered.popleft()
        before, self._heard = max(sent, self._heard), time.perf_counter()
        _count_call(call.script, self._heard - before)
        _count_refusal(call.script, reply)
        return reply


def _count_call(script: str, took_s: float) -> None:
    metrics.of(metrics.SCRIPT_CALLS, script).inc()
    metrics.of(metrics.SCRIPT_SECONDS, script).inc(took_s)


def _count_refusal(script: str, reply: Any) -> None:
    numbers = _REFUSAL_NUMBERS.get(script)
    for answer in reply if script in _OF_MANY else (reply,):
        first = answer[0] if isinstance(answer, list) and answer else answer
        reason = None
        if isinstance(first, bytes):
            reason = first.decode() if first in _REFUSALS else None
        elif numbers and isinstance(first, int):
            reason = numbers.get(first)
        if reason is not None:
            metrics.SCRIPT_REFUSALS.labels(script, reason).inc()


def _ordered(call: Call) -> tuple[list[str], list[str | bytes | int | float]]:
    """Keys and arguments in the script's own order. Raises TypeError naming what is missing or unknown."""
    source, keys, arguments = sources()[call.script], call.keys, call.arguments
    if keys.keys() != source.named[0] or arguments.keys() != source.named[1]:
        wrong = (keys.keys() ^ set(source.keys)) | (arguments.keys() ^ set(source.arguments))
        raise TypeError(f"{call.script}.lua: missing or unknown {', '.join(sorted(wrong))}")
    return [keys[key] for key in source.keys], [_packed(arguments[argument]) for argument in source.arguments]


def _packed(value: Argument) -> str | bytes | int | float:
    if isinstance(value, list | dict):
        packed: bytes = msgpack.packb(value, use_bin_type=False)
        return packed
    return value
