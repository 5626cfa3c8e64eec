"""`marketswarm status` and `marketswarm epoch inspect`: how the pipeline fares, for people and for programs."""

from pathlib import Path

import click

from pipeline.cli.reach import data_dir_option, reach


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@data_dir_option
def status(as_json: bool, data_dir: Path | None) -> None:
    """How far each stage is behind, which epochs live, and which versions are published."""
    from pipeline.database import shown
    from pipeline.status import read_status

    reached = reach(data_dir)
    found = read_status(reached.database, reached.keys, reached.symbols)
    dashboard = reached.endpoint.dashboard if reached.endpoint else ""
    if as_json:
        import orjson

        record = {"redis": shown(reached.url), "dashboard": dashboard, **found.as_record()}
        click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2).decode())
        return
    from pipeline.cli.board import status_tables, wide_console

    console = wide_console(160)
    console.print(f"redis {shown(reached.url)}", highlight=False)
    if dashboard:
        console.print(f"dashboard {dashboard}", highlight=False)
    console.print(status_tables(found), highlight=False)


@click.group()
def epoch() -> None:
    """The sets of contracts that models are computed over."""


@epoch.command()
@click.argument("symbols", nargs=-1)
@data_dir_option
def inspect(symbols: tuple[str, ...], data_dir: Path | None) -> None:
    """One line an underlying: its epoch, what is dirty, how often it went dormant, and the versions published."""
    from pipeline.cli.board import epoch_table, wide_console
    from pipeline.status import Status, read_status

    reached = reach(data_dir)
    wanted = {symbol.upper() for symbol in symbols}
    found = read_status(reached.database, reached.keys, reached.symbols)
    epochs = {symbol: epoch for symbol, epoch in found.epochs.items() if not wanted or symbol in wanted}
    chosen = Status(found.stages, epochs, found.models, found.dead, found.drift)
    wide_console(200).print(epoch_table(chosen), highlight=False)
