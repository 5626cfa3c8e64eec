"""`marketswarm analyze CHAIN_FILE`: every model of one chain file, without Redis."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.refused import Failed, Refused

if TYPE_CHECKING:
    from pipeline.analysis import Analysis

_LONGEST_DTE = 100_000


@click.command()
@click.argument("chain_file", type=click.Path(dir_okay=True, path_type=Path))
@click.option("--as-of", metavar="ISO", help="The instant of the quotes; without an offset it is New York time "
              "[default: the file's].")
@click.option("--spot", type=float, metavar="USD", help="Where the underlying stands [default: the file's].")
@click.option("--rate", type=float, metavar="RATE", help="Continuously compounded, a year [default: MASSIVE_RATE].")
@click.option("--max-dte", type=click.IntRange(0, _LONGEST_DTE), metavar="N",
              help="Expirations up to N calendar days ahead only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def analyze(
    chain_file: Path, as_of: str | None, spot: float | None, rate: float | None, max_dte: int | None, as_json: bool
) -> None:
    """GEX, levels, mode, intent and gravity of a chain file.

    The file is one of Cboe's published chains (either layout, CSV) or the provider's chain rows as JSON, plain or
    gzipped. The numbers describe positions under a naive sign model; they do not predict.
    """
    import orjson

    from pipeline.settings import load_settings

    settings = load_settings()
    rate = settings.rate if rate is None else rate
    if spot is not None and not 0.0 < spot < float("inf"):
        raise Refused(f"--spot: {spot!r} is no price")
    if not -0.05 <= rate <= 0.5:
        raise Refused(f"--rate: {rate!r} is not between -0.05 and 0.5")
    as_of_ms = None if as_of is None else _instant(as_of)
    analysis = _analysed(chain_file, spot, as_of_ms, rate, max_dte)
    if as_json:
        click.echo(orjson.dumps(analysis.record(), option=orjson.OPT_INDENT_2).decode())
        return
    from pipeline.cli.analysis_board import analysis_tables
    from pipeline.cli.board import wide_console

    wide_console(140).print(analysis_tables(analysis), highlight=False)


def _analysed(
    chain_file: Path, spot: float | None, as_of_ms: int | None, rate: float, max_dte: int | None
) -> "Analysis":
    from pipeline.analysis import NoExpirationError, analyse
    from pipeline.chain_file import ChainFileError, read_chain_file
    from pipeline.settings import load_settings

    try:
        chain = read_chain_file(chain_file, spot, as_of_ms)
    except ChainFileError as error:
        raise Failed(" ".join(str(error).split())) from None
    except OSError as error:
        raise Refused(f"{chain_file}: {error.strerror or error}") from None
    try:
        return analyse(chain, rate, load_settings().widths_of(chain.symbol), max_dte)
    except NoExpirationError as error:
        raise Failed(f"{chain_file}: {error}") from None


def _instant(text: str) -> int:
    from pipeline.models.expiry import NEW_YORK
    from pipeline.registers import FIRST_MS, LAST_MS

    try:
        given = datetime.fromisoformat(text)
        given = given.replace(tzinfo=NEW_YORK) if given.tzinfo is None else given
        ms = round(given.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Refused(f"--as-of: {text!r} is no ISO time, as 2026-08-20T16:14") from None
    if not FIRST_MS <= ms < LAST_MS:
        raise Refused(f"--as-of: {text!r} is no time of this century")
    return ms
