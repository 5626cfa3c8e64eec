"""`marketswarm record`: a window into a file, once or all the time, so that it outlives Redis."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.reach import data_dir_option, reach
from pipeline.cli.refused import Refused
from pipeline.cli.replay import moment, own_settings, recorded_symbol

if TYPE_CHECKING:
    from pipeline.replay.archive import Archive


@click.command()
@click.option("--symbol", metavar="SYM", help="The underlying [default: the only one; with --follow all of them].")
@click.option("--from", "begin", metavar="TIME", help="ISO time with its zone; the window's first instant.")
@click.option("--to", "end", metavar="TIME", help="ISO time with its zone; the window's last instant.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="PATH",
              help="The file to write; with --follow the folder to write files to.")
@click.option("--follow", is_flag=True, help="Go on until SIGTERM: a file each --every seconds.")
@click.option("--every", "every_s", type=click.FloatRange(5, 86_400), default=120.0, show_default=True, metavar="S",
              help="How long a file of --follow is.")
@click.option("--keep", "keep_s", type=click.FloatRange(60), default=30 * 86_400.0, show_default=True, metavar="S",
              help="Files of --follow older than this are removed.")
@data_dir_option
def record(
    symbol: str | None, begin: str | None, end: str | None, output: Path, follow: bool, every_s: float, keep_s: float,
    data_dir: Path | None,
) -> None:
    """Write what came in and what was published to a file that `replay` and `simulate` read."""
    from pipeline.replay.session_file import write_session
    from pipeline.replay.window import WindowError, read_window

    reached = reach(data_dir)
    settings = own_settings(reached)
    try:
        if not follow:
            if not begin or not end:
                raise Refused("name the window with --from and --to, or --follow what comes in from now on")
            window = read_window(
                reached.database, reached.keys, recorded_symbol(reached, symbol), moment(begin, "--from"),
                moment(end, "--to"), settings, with_versions=True,
            )
            size = write_session(window, output)
            click.echo(f"{output}: {window.entries:,} entries, {len(window.versions):,} versions, {size:,} bytes")
            return
        if begin or end:
            raise Refused("--follow begins now: leave --from and --to away")
        from pipeline.replay.archive import Archive

        symbols = (recorded_symbol(reached, symbol),) if symbol else reached.symbols
        _follow([
            Archive(reached.database, reached.keys, of, settings, output, every_s, keep_s) for of in symbols
        ])
    except WindowError as error:
        raise Refused(str(error)) from None


def _follow(archives: "list[Archive]") -> None:
    from redis.exceptions import RedisError

    from pipeline.cli.session import Asked
    from pipeline.logs import Outage, configure_logs, get_log

    configure_logs()
    asked, log = Asked(), get_log(stage="record")
    outage = Outage(log, "redis")
    while not asked.to_end:
        try:
            for archive in archives:
                archive.turn(log)
            outage.healed()
        except (RedisError, OSError) as error:
            outage.broke(f"{type(error).__name__}: {error}")
        for _ in range(5):
            if not asked.to_end:
                time.sleep(0.2)
    for archive in archives:  # what has come in since the last file
        archive.turn(log, last=True)
