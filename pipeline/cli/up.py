"""`marketswarm up`: everything on this machine, from the server to the models, and nothing left of it afterwards."""

from pathlib import Path

import click

from pipeline.cli.reach import data_dir_option
from pipeline.cli.refused import Failed


@click.command()
@click.option("--live", is_flag=True, help="The real provider, with MASSIVE_API_KEY, instead of the simulated one.")
@click.option("--symbols", metavar="SYM,SYM", help="Underlyings [default: MASSIVE_SYMBOLS, else SPX,NDX].")
@click.option("--scope", type=click.Choice(["near", "full"]), help="How much of a chain [default: MASSIVE_SCOPE].")
@click.option("--scale", default="", metavar="STAGE=N,...", help="Processes a stage, as in hydrate=4,calculate=2.")
@click.option("--rate", type=float, default=2000.0, show_default=True, help="Simulated option events a second.")
@click.option("--chain", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A Cboe chain file for the simulated provider to start from.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated market.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[:PARAM][xCOUNT]",
              help="Let the simulated provider misbehave; repeatable.")
@data_dir_option
def up(
    live: bool, symbols: str | None, scope: str | None, scale: str, rate: float, chain: Path | None, seed: int,
    faults: tuple[str, ...], data_dir: Path | None,
) -> None:
    """Run the whole pipeline until Ctrl-C: server, provider (simulated unless --live) and every stage."""
    from pipeline.cli.session import Asked, Plan, Session
    from pipeline.endpoint import claimed

    plan = Plan.made(live, symbols, scope, scale, rate, chain, seed, faults, data_dir)
    asked = Asked()
    with claimed(plan.settings.endpoint_file):
        killed = Session(plan, asked).run()
    if killed:
        raise Failed("some processes did not end in time and were killed")
