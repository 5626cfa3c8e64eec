"""An analysis for people's eyes: levels, derived models, and a row an expiration."""

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.analysis import Analysis
from pipeline.models.expiry import NEW_YORK
from pipeline.models.gex import exposure

_BILLION = 1e9
_PANES_SHOWN = 15


def analysis_tables(analysis: Analysis) -> RenderableType:
    taken = datetime.fromtimestamp(analysis.as_of_ms / 1000, UTC).astimezone(NEW_YORK)
    head = (
        f"{analysis.symbol} {analysis.spot:,.2f} as of {taken:%Y-%m-%d %H:%M} New York, rate {analysis.rate:g}: "
        f"{analysis.contracts} contracts, {len(analysis.panes)} expirations"
        + (f", {analysis.settled} settled" if analysis.settled else "")
        + (f", quoted {analysis.coverage:.1%}" if analysis.coverage is not None else "")
    )
    shown = analysis.panes[:_PANES_SHOWN]
    left = len(analysis.panes) - len(shown)
    parts: list[RenderableType] = [head, "", _facts(analysis), "", _panes(analysis, len(shown))]
    return Group(*parts, *([f"... and {left} more (all of them with --json)"] if left else []))


def _facts(analysis: Analysis) -> Table:
    models, table = analysis.models, Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    book, today = models.books["oi"], models.books["volume"]
    table.add_row(
        "GEX", f"net {_billions(book['net'])}, gross {_size(book['gross'])} $bn per 1 %, ratio {_plain(book['ratio'])} "
        f"(open interest of {analysis.oi_date.isoformat()}); by today's volume net {_billions(today['net'])}",
    )
    table.add_row(
        "vanna, charm", f"{_billions(models.vanna['net'])} $bn per volatility point, "
        f"{_billions(models.charm['net'])} $bn per day",
    )
    levels, walls = models.levels, models.levels.walls
    flip = levels.flip
    table.add_row("flip", _price(flip.value) if flip.reason is None else f"- ({flip.reason})"
                  + (f" roots {', '.join(_price(root) for root in flip.roots)}" if flip.roots else ""))
    table.add_row("walls", f"call {_price(walls.call)}, put {_price(walls.put)}; anywhere "
                  f"{_price(walls.call_anywhere)}, {_price(walls.put_anywhere)}")
    table.add_row("expected move", f"{_price(levels.expected_move)} ({levels.front or 'no front expiration'}), "
                  f"max pain {_price(levels.max_pain)}")
    mode, intent, gravity = models.mode, models.intent, models.gravity
    table.add_row("Market Mode", f"- ({mode.reason})" if mode.score is None else
                  f"{mode.score:.1f} {mode.label} (0 damped, 100 amplified)")
    table.add_row(
        "Liquidity Intent", f"- ({intent.reason})" if intent.lfi is None else
        f"{intent.quadrant}: LFI {intent.lfi:.1f}, bias {intent.bias:+.1f}; dealers' hedges: half a move up "
        f"{_billions(intent.up)}, down {_billions(intent.down)}, an hour {_billions(intent.charm)} $bn",
    )
    table.add_row(
        "Dealer Gravity", f"- ({gravity.reason})" if gravity.best is None else
        f"{_price(gravity.best)} ({_price(gravity.low)} to {_price(gravity.high)}), pull {gravity.pull:+.2f}, "
        f"confidence {gravity.confidence:.2f}; wells {_list([well.price for well in gravity.wells])}, "
        f"ridges {_list([ridge.price for ridge in gravity.ridges])}",
    )
    return table


def _panes(analysis: Analysis, count: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(
        ("EXPIRATION", "DTE", "CONTRACTS", "QUOTED", "FORWARD", "MOVE", "IV", "MAX PAIN", "NET $bn", "GROSS $bn")
    ):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for pane in analysis.panes[:count]:
        head, held = pane.head, pane.exposure
        book = exposure(held.gex[0])
        table.add_row(
            pane.geometry.pane, f"{head['dte']}", f"{head['contracts']}", _share(head["coverage"]),
            _price(head["forward"]), _price(head["expected_move"]), _share(head["atm_iv"]),
            _price(None if held.max_pain != held.max_pain else held.max_pain),
            _billions(book["net"]), _size(book["gross"]),
        )
    return table


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _billions(usd: float | None) -> str:
    return "-" if usd is None else f"{usd / _BILLION:+.3f}"


def _size(usd: float | None) -> str:
    return "-" if usd is None else f"{usd / _BILLION:.3f}"


def _list(prices: list[float]) -> str:
    return ", ".join(_price(price) for price in prices) or "none"
