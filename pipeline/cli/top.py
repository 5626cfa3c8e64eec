"""`marketswarm top`: stages, lags, rates, latencies, epochs and dead letters, live in the terminal."""

import sys
from pathlib import Path

import click

from pipeline.cli.reach import data_dir_option, reach
from pipeline.cli.refused import Refused


@click.command()
@click.option("--every", "every_s", type=click.FloatRange(0.5, 60), default=2.0, show_default=True,
              help="Seconds between two readings; rates and latencies are of what lies between.")
@data_dir_option
def top(every_s: float, data_dir: Path | None) -> None:
    """How fast everything goes, as it goes. `q` quits, blank holds the picture still.

    It looks and changes nothing. `busy` is the part of their time in which a stage's processes commit; `step` is the
    way from the stage before, `tick` the whole way from the input stream.
    """
    reached = reach(data_dir)
    reached.database.ping()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused("top needs a terminal; `marketswarm status` prints once")
    from pipeline.cli.top_app import TopApp

    TopApp(reached.database, reached.keys, reached.symbols, every_s).run()
