"""`marketswarm simulate`: the provider as a server on this machine, with its market and its misbehaviour."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from pipeline.cli.refused import Refused

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free one.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same session again.")
@click.option("--rate", type=float, default=2000.0, show_default=True, help="Option events a second.")
@click.option("--symbols", metavar="SYM,SYM", help="Underlyings [default: SPX,NDX; with --chain that file's].")
@click.option("--chain", type=_FILE, help="A Cboe chain file (CSV, may be gzipped) to start from.")
@click.option("--session", type=_FILE, help="A file of `marketswarm record`: its market again, at the time it came.")
@click.option("--chain-spot", type=float, metavar="USD", help="Spot of a chain file that does not say.")
@click.option("--spot-path", type=_FILE, help="CSV of one-minute bars that spot follows.")
@click.option("--clock", metavar="ISO", help="Session time to start at; without an offset it is New York time.")
@click.option("--clock-speed", type=float, default=1.0, show_default=True, help="Session seconds per wall second.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[:PARAM][xCOUNT]",
              help="Misbehave; repeatable. An unknown name lists the known ones.")
def simulate(
    host: str, port: int, seed: int, rate: float, symbols: str | None, chain: Path | None, session: Path | None,
    chain_spot: float | None, spot_path: Path | None, clock: str | None, clock_speed: float, faults: tuple[str, ...],
) -> None:
    """Serve a simulated provider (REST and sockets on one port) until SIGTERM."""
    from pipeline import tether
    from pipeline.cboe import CboeFileError
    from pipeline.replay.window import WindowError
    from pipeline.simulator import SimulatorError, SimulatorSettings, parse_fault, run

    tether.hold(grace_s=5.0)
    try:
        run(
            SimulatorSettings(
                host=host, port=port, seed=seed, rate=rate, symbols=_symbols(symbols), chain=chain,
                session=session,
                chain_spot=chain_spot, spot_path=spot_path, clock=_moment(clock), clock_speed=clock_speed,
                faults=tuple(parse_fault(fault) for fault in faults),
            )
        )
    except (ValueError, CboeFileError, SimulatorError, WindowError, OSError) as error:
        raise Refused(str(error)) from None


def _symbols(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in (text or "").split(",") if part.strip())


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo("America/New_York"))
