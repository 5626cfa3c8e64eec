"""`marketswarm export`: a recorded session as Parquet files."""

from pathlib import Path

import click

from pipeline.cli.refused import Refused


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="FOLDER",
              help="Where contracts, quotes, trades, spots and models .parquet are written.")
def export(file: Path, output: Path) -> None:
    """Write a recorded session as Parquet, for analysts. Needs the `parquet` extra."""
    from pipeline.replay.session_file import read_session
    from pipeline.replay.window import WindowError

    try:
        from pipeline.replay.parquet import write_parquet
    except ImportError:
        raise Refused("Parquet needs the parquet extra: pip install 'marketswarm[parquet]'") from None
    try:
        written = write_parquet(read_session(file), output)
    except WindowError as error:
        raise Refused(str(error)) from None
    for table, rows in written.items():
        click.echo(f"{output / table}.parquet: {rows:,} rows")
