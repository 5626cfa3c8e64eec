"""`marketswarm dead`: entries that could not be done, to be looked at, put back or dropped."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.reach import Reached, data_dir_option, reach
from pipeline.cli.refused import Failed, Refused

if TYPE_CHECKING:
    from pipeline.deadletters import DeadLetter

_ALL = 1_000_000


@click.group()
def dead() -> None:
    """Entries that no retry could save."""


@dead.command("list")
@click.option("--count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@data_dir_option
def list_letters(count: int, data_dir: Path | None) -> None:
    """The newest first: id, age, stage, stream and entry, attempts, error."""
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.board import age, wide_console

    reached = reach(data_dir)
    seconds, _ = reached.database.time()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ID", "AGE", "STAGE", "STREAM", "ENTRY", "TRIES", "ERROR"):
        table.add_column(column, no_wrap=column != "ERROR", overflow="fold")
    for _, letter in _letters(reached, count):
        table.add_row(
            letter.id, age(max(0, seconds * 1000 - letter.ts)), letter.stage, letter.stream, letter.entry,
            f"{letter.attempts}", escape(letter.error),
        )
    wide_console(240).print(table, highlight=False)


@dead.command("retry")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every letter.")
@data_dir_option
def retry_letters(ids: tuple[str, ...], everything: bool, data_dir: Path | None) -> None:
    """Put letters back at the end of their stream, as new entries."""
    from pipeline.deadletters import retry
    from pipeline.scripts import Scripts

    reached = reach(data_dir)
    scripts = Scripts(reached.database)
    done = [letter.id for key, letter in _chosen(reached, ids, everything) if retry(scripts, key, letter)]
    click.echo(f"{len(done)} put back")


@dead.command("drop")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every letter.")
@data_dir_option
def drop_letters(ids: tuple[str, ...], everything: bool, data_dir: Path | None) -> None:
    """Forget letters. What they held is gone."""
    from pipeline.deadletters import drop

    reached = reach(data_dir)
    done = [letter.id for key, letter in _chosen(reached, ids, everything) if drop(reached.database, key, letter)]
    click.echo(f"{len(done)} dropped")


def _letters(reached: Reached, count: int) -> Iterator[tuple[str, "DeadLetter"]]:
    from pipeline.deadletters import dead_letters
    from pipeline.status import dead_streams

    for key in dead_streams(reached.keys, reached.symbols):
        for letter in dead_letters(reached.database, key, count):
            yield key, letter


def _chosen(reached: Reached, ids: tuple[str, ...], everything: bool) -> list[tuple[str, "DeadLetter"]]:
    if everything == bool(ids):
        raise Refused("name letters by their id (see `marketswarm dead list`), or say --all")
    letters = list(_letters(reached, _ALL))
    unknown = set(ids) - {letter.id for _, letter in letters}
    if unknown:
        raise Failed(f"no letter {', '.join(sorted(unknown))}")
    # In the order they were buried, so that a stream gets them back in the order it had them.
    return sorted(
        ((key, letter) for key, letter in letters if everything or letter.id in ids),
        key=lambda pair: tuple(int(part) for part in pair[1].id.split("-")),
    )
