"""`marketswarm diff A B`: two replays, or a replay and live, value by value."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.reach import Reached, data_dir_option, reach
from pipeline.cli.refused import Refused

if TYPE_CHECKING:
    from pipeline.keys import Keys
    from pipeline.replay.compare import Comparison

LIVE = "live"


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--symbol", metavar="SYM", help="The underlying, where both A and B are live in several.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@data_dir_option
def diff(before: str, after: str, symbol: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Compare what is published in A and in B, each the name of a replay or `live`; status 0 where it is all the same.

    What counts publications (`version`) is not compared.
    """
    from dataclasses import asdict

    import orjson

    from pipeline.replay.compare import compare

    reached = reach(data_dir)
    (ours, our_symbol), (theirs, their_symbol) = _world(reached, before), _world(reached, after)
    chosen = our_symbol or their_symbol or (symbol or reached.symbols[0]).upper()
    if {our_symbol or chosen, their_symbol or chosen, (symbol or chosen).upper()} != {chosen}:
        raise Refused(f"{before} is of {our_symbol or 'live'}, {after} of {their_symbol or 'live'}: not one underlying")
    found = compare(reached.database, ours, theirs, chosen)
    if not any(comparison.values > 1 for comparison in found):
        raise Refused(f"nothing is published of {chosen} in {before} and {after}")
    if as_json:
        click.echo(orjson.dumps([asdict(comparison) for comparison in found], option=orjson.OPT_INDENT_2))
    else:
        _print(found)
    if any(comparison.differing for comparison in found):
        raise SystemExit(1)


def _world(reached: Reached, name: str) -> "tuple[Keys, str]":
    """The keys of a replay and its underlying, or of live and ''. Raises Refused."""
    from pipeline.keys import Keys
    from pipeline.replay.namespace import abouts

    if name == LIVE:
        return reached.keys, ""
    about = next((about for about in abouts(reached.database) if about["name"] == name), None)
    if about is None:
        raise Refused(f"there is no replay {name!r}: see `marketswarm replay list`, or say live")
    return Keys(reached.keys.layout, Keys.replay_namespace(name)), about.get("symbol", "")


def _print(found: "list[Comparison]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.board import wide_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("MODEL", "VALUES", "DIFFERENT", "IN ONE ONLY", "WIDEST GAP", "WHERE", "A", "B"):
        table.add_column(column, no_wrap=column != "WHERE", justify="left" if column in "MODEL WHERE" else "right")
    for of in found:
        numbers = (f"{of.values:,}", f"{of.differing:,}", f"{of.only:,}", f"{of.largest:,.6g}" if of.differing else "")
        shown = (escape(of.place), f"{of.before}"[:24], f"{of.after}"[:24]) if of.differing else ("", "", "")
        table.add_row(of.model, *numbers, *shown)
    wide_console(240).print(table, highlight=False)
