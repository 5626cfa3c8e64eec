"""Models as lines of text: a surface around the money with GEX on the same strikes, levels, mode, and freshness."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from pipeline.cli.board import age
from pipeline.cli.published import Snapshot, Surface
from pipeline.models.expiry import NEW_YORK

Document = Mapping[str, Any]

_STRIKE, _CELL, _MARKS, _USD = 8, 7, 3, 8
_LEAST_BAR = 9
_MILLION = 1e6
_SHADES = ("#1b2a41", "#1f4068", "#1f5f8b", "#2a7f9e", "#3fa796", "#82b366", "#d8b24a", "#f08a3c")
_DARK_FROM = 4  # shades so light that their text is black
_STATUS_STYLE = {"live": "green", "delayed": "yellow", "stale": "red", "dormant": "yellow", "closed": "blue"}
_LETTERS = {"flip": "F", "call_wall": "C", "put_wall": "P", "max_pain": "M"}
"""What stands beside a strike, `>` for spot; the line of levels names them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What of a surface is looked at; ``shift`` strikes above the money."""

    strategy: str = "butterfly"
    side: str = "call"
    display: str = "mid"
    shift: int = 0


# --- words ---
def price(value: float | None) -> str:
    """7,640 and 7,641.16; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def instant(ms: int | None) -> str:
    """Month, day and minute in New York."""
    return "-" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(NEW_YORK):%m-%d %H:%M}"


def headline(symbol: str, header: Document, published_ms: int | None) -> Text:
    """Spot, status, age and the instants that it all rests on."""
    as_of, oi_date = header["as_of"], header["as_of"]["oi_date"]
    quotes, chain = instant(as_of["quotes"]), instant(as_of["chain"])
    same_day = quotes[:5] == chain[:5]
    return Text.assemble(
        (f"{symbol} {price(header['spot'])} ", "bold"), (str(header["status"]), _STATUS_STYLE[header["status"]]),
        f"  v{header['version']} {age(published_ms)} ago  quotes {quotes}",
        f"  chain {chain[6:] or '-' if same_day else chain}  OI {oi_date[5:] if oi_date else '-'}",
    )


def levels_line(gex: Document | None) -> Text:
    if gex is None:
        return Text("levels - (gex is not published)")
    levels = gex["levels"]
    flip = levels["flip"]
    parts = [f"F flip {price(flip['value'])}" + (f" ({flip['reason']})" if flip["reason"] else "")]
    for name, label in (("call_wall", "C wall"), ("put_wall", "P wall"), ("max_pain", "M max pain"),
                        ("expected_move", "move")):
        reason = levels["reasons"].get(name)
        sign = "±" if name == "expected_move" and reason is None else ""
        parts.append(f"{label} {sign}{price(levels[name])}" + (f" ({reason})" if reason else ""))
    return Text("  ".join(parts))


def derived_line(documents: Mapping[str, Document]) -> Text:
    """Mode, intent and gravity: what each says, or why it does not."""
    mode, intent, gravity = (documents.get(name) for name in ("market_mode", "liquidity_intent", "dealer_gravity"))
    said: list[tuple[str, Document | None, Callable[[Document], str]]] = [
        ("mode", mode, lambda found: f"{found['score']:.0f} {found['label']}"),
        ("intent", intent, lambda found: f"{found['quadrant']} bias {found['bias']:+.0f}"),
        ("gravity", gravity, lambda found: f"{price(round(found['best']))} pull {found['pull']:+.2f}"),
    ]
    return Text("  ").join(
        Text.assemble((f"{name} ", "bold"), "- (not published)" if found is None
                      else f"- ({found['reason']})" if found["reason"] else tell(found))
        for name, found, tell in said
    )


# --- tables ---
def marks(strikes: Sequence[float], spot: float | None, levels: Document | None) -> dict[float, str]:
    """Letters by strike: what a level is nearest to. Levels beyond the strikes are not marked."""
    found: dict[float, str] = {}
    values = {">": spot}
    if levels is not None:
        values |= {_LETTERS[name]: levels[name] for name in ("call_wall", "put_wall", "max_pain")}
        values["F"] = levels["flip"]["value"]
    for letter, value in values.items():
        if value is not None and strikes and min(strikes) <= value <= max(strikes):
            at = min(strikes, key=lambda strike: abs(strike - value))
            found[at] = found.get(at, "") + letter
    return found


def around(strikes: Sequence[float], spot: float | None, rows: int, shift: int = 0) -> range:
    """The positions of at most ``rows`` strikes around the money, moved ``shift`` up."""
    middle = len(strikes) // 2
    if spot is not None and strikes:
        middle = min(range(len(strikes)), key=lambda at: abs(strikes[at] - spot))
    first = min(max(0, middle + shift - rows // 2), max(0, len(strikes) - rows))
    return range(first, min(len(strikes), first + rows))


def surface_lines(surface: Surface, gex: Document | None, look: Look, width: int, rows: int, bars: bool) -> list[Text]:
    """A title of columns and ``rows`` strikes, the highest first; ``bars``: net GEX of all panes beside them."""
    strikes = surface.body["strikes"]
    grid = surface.body[look.strategy][look.side][look.display]
    titles = [price(one) for one in surface.widths] if look.strategy != "single" else [look.display]
    room = width - _MARKS - _STRIKE - (_USD + _LEAST_BAR if bars else 0)
    columns = min(len(titles), max(1, room // _CELL))
    bar = width - _MARKS - _STRIKE - columns * _CELL - _USD
    shown = around(strikes, surface.header["spot"], rows, look.shift)
    cells = {at: (grid[at][:columns] if isinstance(grid[at], list) else [grid[at]]) for at in shown}
    most = max((value for row in cells.values() for value in row if value is not None), default=0.0)
    net = gex["by_strike"] if gex is not None else {}
    largest = max((abs(net.get(_key(strikes[at])) or 0) for at in shown), default=0)
    letters = marks(strikes, surface.header["spot"], gex["levels"] if gex is not None else None)
    head = Text(f"{'':{_MARKS}}{'strike':>{_STRIKE}}" + "".join(f"{one:>{_CELL}}" for one in titles[:columns]), "bold")
    lines = [head.append(f"{'GEX $mn':>{_USD}}", "bold") if bars else head]
    for at in reversed(shown):
        strike = strikes[at]
        line = Text(f"{letters.get(strike, ''):<{_MARKS}}", "bold yellow")
        line.append(f"{price(strike):>{_STRIKE}}", "bold reverse" if ">" in letters.get(strike, "") else "bold")
        for value in cells[at]:
            line.append(*_cell(value, most))
        if bars:
            line.append_text(_bar(net.get(_key(strike)), largest, bar))
        lines.append(line)
    return lines


def gex_lines(gex: Document, width: int, rows: int) -> list[Text]:
    """Net GEX by strike around the money, the highest strike first."""
    net = gex["by_strike"]
    strikes = sorted(map(float, net))
    shown = around(strikes, gex["spot"], rows)
    largest = max((abs(net[_key(strikes[at])] or 0) for at in shown), default=0)
    letters = marks(strikes, gex["spot"], gex["levels"])
    lines = [Text(f"{'':{_MARKS}}{'strike':>{_STRIKE}}{'GEX $mn':>{_USD + 2}}", "bold")]
    for at in reversed(shown):
        line = Text(f"{letters.get(strikes[at], ''):<{_MARKS}}{price(strikes[at]):>{_STRIKE}}  ")
        bar = min(width, 100) - _MARKS - _STRIKE - _USD - 2
        lines.append(line.append_text(_bar(net[_key(strikes[at])], largest, bar)))
    return lines


def snapshot_lines(snapshot: Snapshot, look: Look, width: int, rows: int) -> list[Text]:
    """Everything of an underlying on one screen of ``rows`` lines."""
    header = snapshot.header
    if header is None:
        return [Text(f"{snapshot.symbol} - nothing is published yet")]
    gex = snapshot.documents.get("gex")
    published = min(snapshot.ages.values(), default=None)
    lines = [headline(snapshot.symbol, header, published), levels_line(gex), derived_line(snapshot.documents)]
    if snapshot.surface is None:
        lines.append(Text(f"{look.strategy} - (its heatmap is not published)"))
    else:
        surface = snapshot.surface
        at, body = surface.panes.index(surface.pane) + 1, surface.body
        move = body["expected_move"]
        lines.append(Text.assemble(
            (f"{look.strategy} {look.side} {look.display}", "bold cyan"),
            f"  {surface.pane} ({at}/{len(surface.panes)}) {body['dte']} DTE"
            f"  move {'-' if move is None else f'±{move:.1f}'}",
        ))
        lines += surface_lines(surface, gex, look, width, max(1, rows - len(lines) - 1), bars=True)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _key(strike: float) -> str:
    return f"{strike:g}" if strike != int(strike) else str(int(strike))


def _cell(value: float | None, most: float) -> tuple[str, str]:
    if value is None:
        return f"{'-':>{_CELL}}", "dim"
    text = f"{value:>{_CELL}.2f}" if abs(value) < 1000 else f"{value:>{_CELL}.1f}"
    if value < 0:
        return text, "white on #7a1f2b"
    shade = min(len(_SHADES) - 1, int(value / most * len(_SHADES))) if most > 0 else 0
    return text, f"{'black' if shade >= _DARK_FROM else 'white'} on {_SHADES[shade]}"


def _bar(usd: int | None, largest: int, width: int) -> Text:
    """Millions, and a bar from the middle: left where dealers are short gamma, right where they are long."""
    if usd is None:
        return Text(f"{'-':>{_USD}}", "dim")
    text = Text(f"{usd / _MILLION:>+{_USD},.0f}")
    half = max(0, (width - 2) // 2)
    whole, odd = divmod(round(abs(usd) / largest * half * 2) if largest else 0, 2)
    if usd < 0:
        text.append(" " * (1 + half - whole - odd)).append("▐" * odd + "█" * whole, "red").append("│", "dim")
    else:
        text.append(" " * (1 + half)).append("│", "dim").append("█" * whole + "▌" * odd, "green")
    return text
