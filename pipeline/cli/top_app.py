"""The application behind `marketswarm top`: it reads workers and Redis, and draws what lies between two readings."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from redis.exceptions import RedisError
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static
from walrus import Database

from pipeline.cli.works_board import top_board
from pipeline.keys import Keys
from pipeline.readings import Reading, Works, between, read


class TopApp(App[None]):
    """One screen. Reading happens in a thread, so that a slow server never holds up a key."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: $background; }
    #view { width: auto; min-width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "hold", "hold"), Binding("q", "quit", "quit")]

    def __init__(self, database: Database, keys: Keys, symbols: Sequence[str], every_s: float) -> None:
        super().__init__()
        self.works: Works | None = None
        self._database = database
        self._keys = keys
        self._symbols = tuple(symbols)
        self._every_s = every_s
        self._last: Reading | None = None
        self._reading = False
        self._held = False
        self._view = Static("reading twice, to see what lies between", id="view", markup=False)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self._view
        yield Footer(compact=True, show_command_palette=False)

    async def on_mount(self) -> None:
        self.set_interval(self._every_s, self.renew)
        await self.renew()

    async def renew(self) -> None:
        """Read once more and draw; a read that is still under way is not joined by another."""
        if self._reading or self._held:
            return
        self._reading = True
        try:
            newest = await asyncio.to_thread(read, self._database, self._keys, self._symbols)
        except (RedisError, OSError) as error:
            self._draw([f"no answer from Redis ({type(error).__name__}): what follows is old"])
            return
        finally:
            self._reading = False
        before, self._last = self._last, newest
        if before is not None:
            self.works = between(before, newest)
            self._draw([])

    def _draw(self, faults: list[str]) -> None:
        if self.works is not None and self._last is not None:
            self._view.update(top_board(self.works, self._last.status, faults))
        elif faults:
            self._view.update(faults[0])

    def action_hold(self) -> None:
        self._held = not self._held
        self._draw(["held still: blank goes on"] if self._held else [])
