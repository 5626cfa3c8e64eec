"""`marketswarm watch SYMBOL`: a live view of an underlying in the terminal."""

import sys
from pathlib import Path

import click

from pipeline.cli.reach import data_dir_option, reach
from pipeline.cli.refused import Refused


@click.command()
@click.argument("symbol")
@data_dir_option
def watch(symbol: str, data_dir: Path | None) -> None:
    """The surface around the money, GEX, levels, mode and freshness of SYMBOL, as they change. `q` quits.

    It looks and changes nothing. Keys: s strategy, c call or put, d mid, buy or sell, left and right the expiration,
    up and down the strikes, 0 back to the money.
    """
    from pipeline.cli.published import Published, published_symbols

    reached = reach(data_dir)
    published = Published(reached.database, reached.keys, symbol.upper())
    known = {*reached.symbols, *published_symbols(reached.database, reached.keys, reached.symbols, "gex")}
    if published.symbol not in known:
        raise Refused(f"nothing is known of {published.symbol}: there is {', '.join(sorted(known))}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused("watch needs a terminal; `marketswarm model NAME SYMBOL` prints once")
    from pipeline.cli.watch_app import WatchApp

    WatchApp(published).run()
