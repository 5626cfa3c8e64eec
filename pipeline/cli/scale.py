"""`marketswarm scale`: how many processes each stage needs, by what comes, what waits and how long an entry takes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.reach import data_dir_option, reach
from pipeline.cli.refused import Failed

if TYPE_CHECKING:
    from pipeline.readings import Works


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True, help="How long to measure.")
@click.option("--within", "within_s", type=click.FloatRange(1, 3600), default=60.0, show_default=True,
              help="Seconds in which what waits now is to be done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@data_dir_option
def scale(seconds: float, within_s: float, as_json: bool, data_dir: Path | None) -> None:
    """Advise how many processes each stage needs, from what it is measured to do now.

    It changes nothing. Advice keeps each process busy for at most seven tenths of its time; it is of this load: under
    twice as many events ask again. Bursts cost less an entry, so that the advice is rather too high.
    """
    from pipeline.readings import between, read

    reached = reach(data_dir)
    before = read(reached.database, reached.keys, reached.symbols)
    time.sleep(seconds)
    works = between(before, read(reached.database, reached.keys, reached.symbols))
    if not any(work.processes for work in works.stages.values()):
        raise Failed("no worker is registered: nothing can be measured")
    if as_json:
        import orjson

        click.echo(orjson.dumps(_record(works, within_s), option=orjson.OPT_INDENT_2).decode())
        return
    _show(works, within_s)


def _record(works: "Works", within_s: float) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "redis_busy": works.redis_busy, "silent": list(works.silent),
        "stages": {name: {**asdict(work), "needed": work.needed(within_s)} for name, work in works.stages.items()},
    }


def _show(works: "Works", within_s: float) -> None:
    from pipeline.cli.board import table, wide_console
    from pipeline.cli.works_board import amount, per_second
    from pipeline.readings import FULL

    shown = table("stage", "processes", "came/s", "done/s", "ms an entry", "busy", "lag", "needed")
    wanted = {}
    for name, work in works.stages.items():
        needed = work.needed(within_s)
        if needed is not None and needed > work.processes:
            wanted[name] = needed
        shown.add_row(
            name, f"{work.processes}", per_second(work.arrived_per_s), per_second(work.done_per_s),
            amount(None if work.service_s is None else work.service_s * 1000, ".2f"),
            amount(work.busy, ".0%"), f"{work.lag}", amount(needed, "d"),
        )
    console = wide_console(140)
    console.print(shown, highlight=False)
    console.print(f"redis busy {works.redis_busy:.0%}", highlight=False)
    if works.silent:
        console.print(f"did not answer: {', '.join(works.silent)}", highlight=False)
    if works.redis_busy > FULL:
        console.print("Redis does all it can: more processes will not help", highlight=False)
    elif wanted:
        console.print(f"up --scale {','.join(f'{name}={number}' for name, number in wanted.items())}", highlight=False)
    else:
        console.print("every stage keeps up", highlight=False)
