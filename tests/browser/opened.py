"""A page of the dashboard in a browser, and what went wrong in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.waiting import wait_until

# What Chromium itself says of a server that is away for a moment; everything else on the console is a fault.
_AWAY = ("net::ERR_", "status of 502", "status of 503")
_EQUAL = """
async ([model, symbol]) => {
  const equal = (a, b) => a === b || (a && b && typeof a === "object" && typeof b === "object" &&
    Object.keys(a).length === Object.keys(b).length && Object.keys(a).every((key) => equal(a[key], b[key])));
  const answer = await fetch(`/api/models/${model}/${symbol}`, {cache: "no-store"}).catch(() => null);
  if (!answer?.ok) return "no answer";
  const stored = await answer.json();
  const held = await window.marketswarm.ask("document", model, symbol);
  if (held?.version !== stored.version) return `version ${held?.version}, stored ${stored.version}`;
  return equal(held, stored) ? "equal" : `version ${stored.version} differs`;
}
"""
_DRAWN = """
async () => {
  const { rows, cells, shown, columns, strategy, top, rowHeight, height } = await window.marketswarm.ask("drawn");
  const [first, last] = [Math.ceil(top / rowHeight), Math.floor((top + height) / rowHeight)];
  let same = 0;
  const different = [];
  for (let row = first; row < Math.min(last, rows.length); row++) for (let column = 0; column < columns; column++) {
    const { at, strike } = rows[row];
    if (at < 0) continue;
    const value = strategy === "single" ? cells[at] : cells[at][column];
    if (shown[row * columns + column] === value) same++;
    else different.push([strike, column, value, shown[row * columns + column]]);
  }
  return {same, different};
}
"""


class Opened:
    """``faults`` are errors of the console and of the page's code; ``page`` is Playwright's."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not any(words in message.text for words in _AWAY):
            self.faults.append(message.text)

    def says(self, script: str) -> Any:
        return self.page.evaluate(script)

    def until(self, script: str, what: str, timeout: float = 90.0) -> Any:
        return wait_until(lambda: self.says(script), what, timeout, every=0.1)

    def state(self) -> str:
        return str(self.page.text_content("#state-word"))

    def version(self, model: str = "heatmap", symbol: str = "SPX") -> int:
        return int(self.asks("document", model, symbol)["version"])

    def newer(self, version: int, symbol: str = "SPX") -> None:
        wait_until(lambda: self.version(symbol=symbol) > version, f"a newer {symbol}", 90.0, every=0.1)

    def asks(self, *asked: str) -> Any:
        """Of the page's worker, which answers after everything that it was told before."""
        return self.page.evaluate("(asked) => window.marketswarm.ask(...asked)", list(asked))

    def becomes_equal(self, model: str, symbol: str, timeout: float = 60.0) -> None:
        """The document in the page's memory is the stored one, number for number. Both move: it is asked until both
        are at one version."""
        def answered() -> str:
            answer = str(self.page.evaluate(_EQUAL, [model, symbol]))
            assert not answer.endswith("differs"), f"{model} {symbol}: {answer}"
            return "" if answer != "equal" else answer

        wait_until(answered, f"{model} {symbol} at the stored version", timeout, every=0.05)

    def drawn(self) -> dict[str, Any]:
        """The tiles in sight, as they were drawn, against the document: how many are the same, and which differ."""
        found: dict[str, Any] = self.page.evaluate(_DRAWN)
        return found


@contextmanager
def opened(browser: Any, url: str, width: int = 1440, height: int = 900, **more: Any) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    page = context.new_page()
    try:
        found = Opened(page)
        page.goto(url)
        yield found
    finally:
        context.close()
