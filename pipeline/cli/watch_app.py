"""The application behind `marketswarm watch`: it reads what is published and draws it, a few times a second."""

import asyncio
from dataclasses import replace
from typing import ClassVar

from redis.exceptions import RedisError
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Static

from pipeline.cli.published import Published, Snapshot
from pipeline.cli.surface import Look, snapshot_lines
from pipeline.models.strategies import PRICINGS, SIDES, STRATEGIES

EVERY_S = 0.25


def _next(values: tuple[str, ...], value: str) -> str:
    return values[(values.index(value) + 1) % len(values)]


class WatchApp(App[None]):
    """One screen. Reading happens in a thread, so that a slow server never holds up a key."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: $background; overflow: hidden; }
    #view { width: 100%; height: 1fr; overflow: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "strategy", "strategy"),
        Binding("c", "side", "call/put"),
        Binding("d", "display", "mid/buy/sell"),
        Binding("left", "pane(-1)", "expiry", key_display="←→"),
        Binding("right", "pane(1)", "expiry", show=False),
        Binding("up", "shift(1)", "strikes", key_display="↑↓"),
        Binding("down", "shift(-1)", "strikes", show=False),
        Binding("0", "money", "spot"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, published: Published) -> None:
        super().__init__()
        self._published = published
        self._look = Look()
        self._pane: str | None = None
        self._snapshot = Snapshot(published.symbol, None)
        self._fault = ""
        self._reading = False
        self._drawn = Text()
        self._view = Static(id="view", markup=False)

    def compose(self) -> ComposeResult:
        yield self._view
        yield Footer(compact=True, show_command_palette=False)

    async def on_mount(self) -> None:
        self.set_interval(EVERY_S, self.renew)
        await self.renew()

    async def renew(self) -> None:
        """Read once more and draw; a read that is still under way is not joined by another."""
        if self._reading:
            return
        self._reading = True
        try:
            self._snapshot = await asyncio.to_thread(self._published.snapshot, self._look.strategy, self._pane)
            self._fault = ""
        except RedisError as error:
            self._fault = f"no answer from Redis ({type(error).__name__}): what follows is old"
        finally:
            self._reading = False
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width, height = self.size.width, self.size.height - 1  # the last line names the keys
        if width < 1 or height < 1:
            return
        surface = self._snapshot.surface
        # A key may have asked for another strategy than has been read yet.
        strategy = next((name for name in STRATEGIES if surface and name in surface.body), self._look.strategy)
        above = [Text(self._fault, "bold red")] if self._fault else []
        lines = above + snapshot_lines(
            self._snapshot, replace(self._look, strategy=strategy), width, height - len(above)
        )
        text = Text("\n").join(lines[:height])
        text.no_wrap = True
        if text != self._drawn or text.spans != self._drawn.spans:
            self._drawn = text
            self._view.update(text)

    async def action_strategy(self) -> None:
        self._look = replace(self._look, strategy=_next(STRATEGIES, self._look.strategy))
        await self.renew()

    def action_side(self) -> None:
        self._look = replace(self._look, side=_next(SIDES, self._look.side))
        self._draw()

    def action_display(self) -> None:
        self._look = replace(self._look, display=_next(PRICINGS, self._look.display))
        self._draw()

    async def action_pane(self, step: int) -> None:
        surface = self._snapshot.surface
        if surface is not None:
            at = surface.panes.index(surface.pane) + step
            self._pane = surface.panes[at % len(surface.panes)]
            await self.renew()

    def action_shift(self, step: int) -> None:
        self._look = replace(self._look, shift=self._look.shift + step)
        self._draw()

    def action_money(self) -> None:
        self._look = replace(self._look, shift=0)
        self._draw()
