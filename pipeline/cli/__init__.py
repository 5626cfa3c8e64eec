"""The command line. Each command lives in a module of its own and imports what it needs when it is called."""

from typing import Any

import click

from pipeline.cli.analyze import analyze
from pipeline.cli.bench import bench
from pipeline.cli.dead import dead
from pipeline.cli.diff import diff
from pipeline.cli.doctor import doctor
from pipeline.cli.export import export
from pipeline.cli.model import model
from pipeline.cli.record import record
from pipeline.cli.refused import one_line
from pipeline.cli.replay import replay
from pipeline.cli.scale import scale
from pipeline.cli.simulate import simulate
from pipeline.cli.top import top
from pipeline.cli.up import up
from pipeline.cli.view import epoch, status
from pipeline.cli.watch import watch
from pipeline.cli.worker import worker


class _Group(click.Group):
    """Whatever is the user's to mend is told in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with one_line():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="marketswarm")
def main() -> None:
    """Option chains and ticks in, live convexity models out.

    `marketswarm up` runs everything on this machine; the other commands find it by its data directory.
    """


_COMMANDS = (
    up, status, top, scale, epoch, model, watch, doctor, dead, worker, simulate, analyze, bench, replay, record, diff,
    export,
)
for _command in _COMMANDS:
    main.add_command(_command)
