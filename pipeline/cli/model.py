"""`marketswarm model NAME SYMBOL`: a published document, as JSON or for people."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.reach import data_dir_option, reach
from pipeline.cli.refused import Failed, Refused

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.cli.published import Published

NAMES = ("heatmap", "gex", "gex_calls", "gex_puts", "market_mode", "liquidity_intent", "dealer_gravity", "spot")
_ROWS = 31
_WIDTH = 120


@click.command()
@click.argument("name")
@click.argument("symbol")
@click.option("--json", "as_json", is_flag=True, help="The document as compact JSON.")
@click.option("--pane", metavar="P", help="Of a heatmap: expiration:root or its beginning [default: the nearest].")
@click.option("--strategy", type=click.Choice(["butterfly", "vertical", "single"]),
              help="Of a heatmap; with --json the view of one strategy [default: butterfly].")
@click.option("--side", type=click.Choice(["call", "put"]), default="call", show_default=True)
@click.option("--display", type=click.Choice(["mid", "buy", "sell"]), default="mid", show_default=True,
              help="Fair value, what it costs now, what it brings now.")
@data_dir_option
def model(
    name: str, symbol: str, as_json: bool, pane: str | None, strategy: str | None, side: str, display: str,
    data_dir: Path | None,
) -> None:
    """Print a published model: heatmap, gex, gex_calls, gex_puts, market_mode, liquidity_intent, dealer_gravity, spot.

    The last one that was published stays readable when the market is closed; its status and its age say so.
    """
    from pipeline.cli.published import Published, published_symbols

    if name not in NAMES:
        raise Refused(f"no model {name!r}: there are {', '.join(NAMES)}")
    if name != "heatmap" and (pane or strategy):
        raise Refused(f"--pane and --strategy are of a heatmap, not of {name}")
    reached = reach(data_dir)
    published = Published(reached.database, reached.keys, symbol.upper())
    stored = f"heatmap_{strategy}" if name == "heatmap" and strategy else name
    document = published.document(stored)
    if document is None:
        there = published_symbols(reached.database, reached.keys, reached.symbols, stored)
        raise Failed(f"no {name} of {published.symbol} is published: there is one of {', '.join(there) or 'nothing'}")
    if pane is not None:
        document = {**document, "panes": {found: document["panes"][found] for found in [_pane(document, pane)]}}
    if as_json:
        import orjson

        click.echo(orjson.dumps(document).decode())
        return
    from pipeline.cli.board import wide_console

    console = wide_console(_WIDTH)
    for line in _lines(name, document, published, strategy or "butterfly", side, display, console.width):
        console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")


def _pane(document: dict[str, Any], wanted: str) -> str:
    from pipeline.cli.published import chosen_pane

    found = chosen_pane(tuple(document["panes"]), wanted)
    if found is None:
        raise Failed(f"no pane {wanted!r} in the heatmap of {document['symbol']}: there are "
                     + ", ".join(document["panes"]))
    return found


def _lines(
    name: str, document: dict[str, Any], published: "Published", strategy: str, side: str, display: str, width: int
) -> "list[Text]":
    from rich.text import Text

    from pipeline.cli.published import Surface, nearest_pane
    from pipeline.cli.surface import Look, gex_lines, headline, instant, levels_line, price, surface_lines

    if name == "spot":
        return [Text(f"{document['symbol']} {price(document['price'])} at {instant(document['ts'])} New York")]
    lines = [headline(f"{document['symbol']} {name}", document, published.ages().get(name))]
    if name == "heatmap":
        pane = nearest_pane(document["panes"])
        if pane is None:
            return [*lines, Text("no pane: its epoch has no contract")]
        surface = Surface(document, tuple(document["widths"]), tuple(document["panes"]), pane, document["panes"][pane])
        body = surface.body
        lines.append(Text(f"{strategy} {side} {display}  {pane}  {body['dte']} DTE  {len(body['strikes'])} strikes"))
        return lines + surface_lines(surface, None, Look(strategy, side, display), width, _ROWS, bars=False)
    if name == "gex":
        lines += [_totals(document), levels_line(document)]
        return lines + gex_lines(document, width, _ROWS)
    if name in ("gex_calls", "gex_puts"):
        sums = {pane: sum(usd or 0 for usd in net.values()) for pane, net in document["expirations"].items()}
        return lines + [Text(f"{pane:<22}{_millions(usd):>12} $mn per 1 %") for pane, usd in sums.items()]
    return lines + _facts(document)


def _totals(gex: dict[str, Any]) -> "Text":
    from rich.text import Text

    totals, today = gex["totals"], gex["books"]["volume"]
    buckets = "  ".join(f"{name} DTE {_millions(sums['net'])}" for name, sums in gex["buckets"].items())
    gross = _millions(totals["gross"]).lstrip("+")
    return Text(
        f"net {_millions(totals['net'])} of {gross} gross, $mn per 1 %, by today's volume {_millions(today['net'])}\n"
        f"{buckets}"
    )


def _facts(document: dict[str, Any]) -> "list[Text]":
    """A line a member that is the model's own."""
    from rich.text import Text

    from pipeline.models.layout import HEADER_FIELDS

    own = {name: value for name, value in document.items() if name not in {*HEADER_FIELDS, "schema"}}
    return [Text.assemble((f"{name:<15}", "bold"), _told(value)) for name, value in own.items()]


def _told(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(f"{one['price']:,.2f} ({_millions(one['usd'])} $mn)" for one in value) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _millions(usd: int | None) -> str:
    return "-" if usd is None else f"{usd / 1e6:+,.0f}"
