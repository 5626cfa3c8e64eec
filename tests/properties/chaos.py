"""Consumers that die between any two steps, calls that are sent twice, and turns of others in the middle of a call."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.scripts import Argument, Call, Scripts
from pipeline.stage import Engine
from tests.world import STAGES, World


class DiedError(BaseException):
    """The process is gone at this instant. Not an Exception: nothing in the process gets to react."""


class OneByOne:
    """A conversation in which the server answers each call before it hears the next: anything may come between."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._replies: deque[Any] = deque()

    def send(self, call: Call) -> None:
        self._replies.append(self._scripts.run(call.script, call.keys, call.arguments))

    def flush(self) -> None:
        """Nothing waits to be sent."""

    def reply(self) -> Any:
        return self._replies.popleft()


class ChaosScripts(Scripts):
    """The real scripts, called as a drawn plan says."""

    def __init__(self, scripts: Scripts, decide: Callable[[str], str], interleave: Callable[[], None]) -> None:
        self._scripts = scripts._scripts
        self._decide = decide
        self._interleave = interleave

    def run(self, name: str, keys: Mapping[str, str], arguments: Mapping[str, Argument]) -> Any:
        decision = self._decide(name)
        if decision == "die before":
            raise DiedError(name)
        if decision == "others first":
            self._interleave()
        reply = super().run(name, keys, arguments)
        if decision == "die after":
            raise DiedError(name)
        if decision == "twice":  # the reply was lost and the client library sent the call again
            reply = super().run(name, keys, arguments)
        if decision == "others after":
            self._interleave()
        return reply

    @contextmanager
    def conversation(self) -> Iterator[Any]:
        yield OneByOne(self)


DECISIONS = ("die before", "die after", "twice", "others first", "others after")


class Chaos:
    """``consumers`` of every stage over one world; ``plan`` maps the number of a script call to what befalls it."""

    def __init__(self, world: World, consumers: int, plan: Mapping[int, str], **overrides: Any) -> None:
        self._world = world
        self._plan = plan
        self._overrides = overrides
        self._calls = 0
        self._in_a_turn: list[int] = []
        self._turn = 0
        self.deaths = 0
        self.engines: list[tuple[str, Engine]] = [
            (stage, self._hire(stage)) for stage in STAGES for _ in range(consumers)
        ]

    def _hire(self, stage: str) -> Engine:
        engine = self._world.engine(stage, **self._overrides)
        engine.stage.reclaim_idle_ms = 1
        engine.stage.scripts = ChaosScripts(engine.stage.scripts, self._decide, self._others)
        return engine

    def _decide(self, _name: str) -> str:
        self._calls += 1
        return self._plan.get(self._calls, "")

    def _others(self) -> None:
        """Somebody else's turn, in the middle of a call: no process begins a turn within its own."""
        if len(self._in_a_turn) < 3:
            self._turn += 7
            index = self._turn % len(self.engines)
            if index not in self._in_a_turn:
                self.step(index)

    def step(self, index: int) -> int:
        stage, engine = self.engines[index]
        self._in_a_turn.append(index)
        try:
            return engine.step()
        except DiedError:
            self.deaths += 1
            self.engines[index] = stage, self._hire(stage)  # another process; what the dead one held waits in its list
            return 1
        finally:
            self._in_a_turn.pop()

    def settle(self, rounds: int = 600) -> None:
        """Turn everybody until nothing moves and nothing is pending."""
        quiet = 0
        for _ in range(rounds):
            moved = sum(self.step(index) for index in range(len(self.engines)))
            quiet = 0 if moved or self.pending() else quiet + 1
            if quiet >= 2:
                return
        raise AssertionError("the stages do not come to rest")

    def pending(self) -> int:
        world, pending = self._world, 0
        for nouns, group in ((("chain",), "normalize"), (("ws", "spot"), "hydrate"), (("dirty",), "calculate"),
                             (("diff",), "models")):
            for noun in nouns:
                pending += world.database.xpending(world.keys.stream(noun, "SPX"), group)["pending"]
        return pending
