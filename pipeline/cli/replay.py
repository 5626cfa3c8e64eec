"""`marketswarm replay`: a window again, through the real stages, beside live and without touching it."""


import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.reach import Reached, data_dir_option, reach
from pipeline.cli.refused import Failed, Refused

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipeline.replay.verify import Report
    from pipeline.replay.window import Window
    from pipeline.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Group(click.Group):
    """`replay` without `list` or `drop` is a replay."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Group)
def replay() -> None:
    """Feed a recorded window through the real stages again, beside live; `run` may be left out.

    \b
    marketswarm replay --symbol SPX --from 2026-11-20T14:30:00-05:00 --to 2026-11-20T14:35:00-05:00 --verify
    marketswarm replay session.msw --speed max
    """


@replay.command("run")
@click.argument("file", type=_FILE, required=False)
@click.option("--symbol", metavar="SYM", help="The underlying [default: the only one].")
@click.option("--from", "begin", metavar="TIME", help="ISO time with its zone; the window's first instant.")
@click.option("--to", "end", metavar="TIME", help="ISO time with its zone; the window's last instant.")
@click.option("--speed", default="max", show_default=True, metavar="1|10|max", help="A multiple of the recorded pace.")
@click.option("--name", metavar="NAME", help="Its namespace is replay:NAME: [default: by symbol and time].")
@click.option("--verify", is_flag=True, help="Make every published version again and compare the bytes.")
@click.option("--stop-at", type=click.IntRange(1), metavar="VERSION", help="Stop at this version of the heatmap.")
@click.option("--stages", metavar="STAGE,...", help="Only these [default: normalize,hydrate,calculate,models].")
@click.option("--scale", default="", metavar="STAGE=N,...", help="Consumers of a stage [default: 1 each].")
@click.option("--in-process", is_flag=True, help="All stages in this process, instead of a process a consumer.")
@click.option("--own-settings", "ours", is_flag=True,
              help="This environment's scope, widths and rate, not the recorded ones.")
@data_dir_option
def run_replay(
    file: Path | None, symbol: str | None, begin: str | None, end: str | None, speed: str, name: str | None,
    verify: bool, stop_at: int | None, stages: str | None, scale: str, in_process: bool, ours: bool,
    data_dir: Path | None,
) -> None:
    """Replay FILE, or what live recorded from --from to --to."""
    from pipeline.replay.namespace import checked_name
    from pipeline.replay.window import WindowError

    multiple, counts = _speed(speed), _scale(stages, scale)
    try:
        checked_name(name or "unnamed")
    except WindowError as error:
        raise Refused(f"--name: {error}") from None
    reached = reach(data_dir)
    _check_server(reached)
    window = opened(reached, file, symbol, begin, end, with_versions=verify)
    named = name or _free_name(reached, window)
    settings = window.settings_of(own_settings(reached), named)
    if ours:
        own = own_settings(reached)
        settings = own.model_copy(update={"symbols": (window.symbol,), "namespace": settings.namespace})
    if window.base == "chain":
        click.echo(f"no base frame before: the window begins with the chain of {_shown(window.base_ms)}, and what was "
                   "quoted before that is not known", err=True)
    source = str(file) if file else "live"
    if verify:
        _verify(reached, window, settings, named, source, stop_at)
    else:
        _feed(reached, window, settings, named, source, speed, multiple, counts, in_process, stop_at)


@replay.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@data_dir_option
def list_replays(as_json: bool, data_dir: Path | None) -> None:
    """Every replay there is: its window, how far it has come, its namespace."""
    import orjson
    from rich.table import Table

    from pipeline.cli.board import wide_console
    from pipeline.replay.namespace import abouts

    found = abouts(reach(data_dir).database)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("NAME", "SYMBOL", "STATE", "MODE", "FROM", "TO", "AT", "SPEED", "ENTRIES", "EVENTS/S", "ERROR"):
        table.add_column(column, no_wrap=True)
    for about in found:
        moments = [_shown(int(about.get(field, 0))) for field in ("from_ms", "to_ms", "position_ms")]
        table.add_row(
            about["name"], about.get("symbol", ""), about.get("state", ""), about.get("mode", ""), *moments,
            about.get("speed", ""), f"{about.get('entries', '0')}/{about.get('entries_total', '0')}",
            about.get("rate", ""), about.get("error", ""),
        )
    wide_console(240).print(table, highlight=False)


@replay.command("drop")
@click.argument("names", nargs=-1, required=True)
@data_dir_option
def drop_replays(names: tuple[str, ...], data_dir: Path | None) -> None:
    """Remove replays with everything they made."""
    from pipeline.replay.namespace import drop
    from pipeline.replay.window import WindowError

    database = reach(data_dir).database
    for name in names:
        try:
            click.echo(f"{name}: {drop(database, name):,} keys dropped")
        except WindowError as error:
            raise Refused(str(error)) from None


# --- what is asked for ---
def opened(
    reached: Reached, file: Path | None, symbol: str | None, begin: str | None, end: str | None, with_versions: bool
) -> "Window":
    """The window of a file or of live. Raises Refused with one line."""
    from pipeline.replay.session_file import read_session
    from pipeline.replay.window import WindowError, read_window

    try:
        if file is not None:
            if symbol or begin or end:
                raise Refused("FILE says which window it is: leave --symbol, --from and --to away")
            return read_session(file)
        if not begin or not end:
            raise Refused("name a FILE, or a window with --from and --to")
        named, first, last = recorded_symbol(reached, symbol), moment(begin, "--from"), moment(end, "--to")
        return read_window(
            reached.database, reached.keys, named, first, last, own_settings(reached), with_versions=with_versions
        )
    except WindowError as error:
        raise Refused(str(error)) from None


def moment(text: str, option: str) -> int:
    """An ISO time as ms. Raises Refused for one that is none, or does not say its zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"{option}: {text!r} is no ISO time") from None
    if parsed.tzinfo is None:
        raise Refused(f"{option}: {text!r} does not say its zone: add Z or an offset such as -05:00")
    return int(parsed.timestamp() * 1000)


def own_settings(reached: Reached) -> "Settings":
    """Our settings, with the layout of what was reached."""
    return reached.settings.model_copy(update={"layout": reached.keys.layout})


def recorded_symbol(reached: Reached, symbol: str | None) -> str:
    if symbol is None and len(reached.symbols) > 1:
        raise Refused(f"--symbol: which of {', '.join(reached.symbols)}?")
    chosen = (symbol or reached.symbols[0]).upper()
    if chosen not in reached.symbols:
        raise Refused(f"--symbol: {chosen!r} is not recorded here; there are {', '.join(reached.symbols)}")
    return chosen


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise Refused(f"--speed: {text!r} is neither max nor a number above 0")
    return speed


def _scale(stages: str | None, scale: str) -> dict[str, int]:
    from pipeline.replay.feed import CORE
    from pipeline.replay.hands import STAGES
    from pipeline.supervisor import parse_scale

    named = [part.strip() for part in stages.split(",") if part.strip()] if stages else list(CORE)
    for stage in named:
        if stage not in STAGES:
            raise Refused(f"--stages: {stage!r} cannot be replayed; there are {', '.join(STAGES)}")
    try:
        return {**dict.fromkeys(named, 1), **parse_scale(scale, named)}
    except ValueError as error:
        raise Refused(f"--scale: {error}") from None


def _free_name(reached: Reached, window: "Window") -> str:
    from pipeline.keys import Keys

    base = f"{window.symbol}-{_shown(window.from_ms)[:19]}".lower().replace(":", "")
    taken = {name.decode() for name in reached.database.smembers(Keys.replays())}
    numbers = (f"{base}-{number}" if number > 1 else base for number in range(1, len(taken) + 2))
    return next(name for name in numbers if name not in taken)


def _check_server(reached: Reached) -> None:
    from pipeline.database import ServerError, server_fault

    fault = server_fault(reached.database, reached.url)
    if fault:
        raise ServerError(fault)


# --- doing it ---
def _feed(
    reached: Reached, window: "Window", settings: "Settings", name: str, source: str, speed: str,
    multiple: float | None, scale: dict[str, int], in_process: bool, stop_at: int | None,
) -> None:
    from honcho.printer import Printer

    from pipeline.cli.session import Asked
    from pipeline.replay.feed import Feed, StuckError
    from pipeline.replay.hands import InProcess, Processes
    from pipeline.replay.namespace import About
    from pipeline.replay.window import WindowError

    about, asked = About(reached.database, name), Asked()
    try:
        about.begin(window, "replay", speed, source)
    except WindowError as error:
        raise Refused(str(error)) from None
    hands = (
        InProcess(settings, reached.database, scale) if in_process
        else Processes(settings, reached.url, scale, Printer(_Warnings()))
    )
    try:
        with _progress("replay", window.entries) as (progress, task):
            def show(feed: Feed) -> None:
                progress.update(task, completed=feed.given, rate=f"{feed.rate:,.0f} events/s",
                                at=_shown(feed.position_ms)[11:23])

            feed = Feed(window, settings, reached.database, hands, about, multiple, stop_at, show)
            feed.run(lambda: asked.to_end)
    except StuckError as error:
        about.tell(state="failed", error=str(error))
        raise Failed(f"replay {name}: {error}") from None
    except BaseException as error:
        about.tell(state="failed", error=type(error).__name__)
        raise
    finally:
        hands.close()
    took_s, lasts_s = feed.took_s, max(1, window.to_ms - window.base_ms) / 1000
    click.echo(
        f"{name}: {feed.given:,} entries, {feed.events:,} events in {took_s:.1f} s ({feed.rate:,.0f} events/s, "
        f"{lasts_s / took_s:,.1f} times the recorded pace){', stopped' if feed.stopped else ''}; "
        f"in namespace {settings.namespace}"
    )


def _verify(
    reached: Reached, window: "Window", settings: "Settings", name: str, source: str, stop_at: int | None
) -> None:
    from pipeline.cli.session import Asked
    from pipeline.replay.namespace import About, drop
    from pipeline.replay.verify import Verification
    from pipeline.replay.window import Commit, WindowError

    if window.base == "chain":
        raise Refused("versions can be verified from a base frame on: begin the window after one (the keeper takes one "
                      "each MASSIVE_SNAPSHOT_INTERVAL_S)")
    if not window.versions:
        raise Refused(f"no version of {window.symbol} is left in the window (they stay for MASSIVE_MODEL_RETENTION_S)")
    about, asked = About(reached.database, name), Asked()
    try:
        about.begin(window, "verify", "max", source)
    except WindowError as error:
        raise Refused(str(error)) from None
    try:
        verification = Verification(window, settings, reached.database)
        with _progress("verify", len(window.commits)) as (progress, task):
            done = 0

            def show(commit: Commit) -> None:
                nonlocal done
                done += 1
                if done % 20 == 0:
                    progress.update(task, completed=done, rate=f"{verification.report.versions:,} versions",
                                    at=_shown(commit.ms)[11:23])
                    about.tell(state="running", position_ms=commit.ms, versions=verification.report.versions,
                               differences=verification.report.total_differences)
                if asked.to_end:
                    raise KeyboardInterrupt

            report = verification.run(show, stop_at)
            progress.update(task, completed=len(window.commits), rate=f"{report.versions:,} versions", at="")
    except BaseException as error:
        about.tell(state="failed", error=type(error).__name__)
        raise
    about.tell(state="done", versions=report.versions, differences=report.total_differences,
               position_ms=window.to_ms)
    _tell(verification, window, report)
    if report.stopped_at is not None:
        verification.store_documents()
        click.echo(f"stopped at heatmap version {report.stopped_at}; its documents are in {settings.namespace}")
    elif not report.total_differences:
        drop(reached.database, name)
    click.echo(f"{report.versions} versions, {report.total_differences} differences")
    if report.total_differences or not report.versions:
        raise SystemExit(1)


def _tell(verification: Any, window: "Window", report: "Report") -> None:
    from pipeline.replay.explain import explain

    if report.early:
        click.echo(f"{report.early} versions at the beginning rest on what came before the base frame")
    if report.lost:
        click.echo(f"{report.lost} versions were too large for the record, and their payloads are gone")
    for commit in report.unlike[:5]:
        click.echo(f"commit {commit.seq} ({commit.kind}, {commit.ids}) changed something live, and nothing here")
    if report.first is not None:
        for line in explain(window, report.first, verification.epoch(report.first.version.epoch)):
            click.echo(line)


class _Warnings(io.TextIOBase):
    """What workers say, without what only tells that all is well: it would break the bar."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip() and "[info" not in line and '"level": "info"' not in line:
                click.echo(line, err=True)
        return len(text)


class _progress:  # noqa: N801 - used like a function
    """A bar on stderr: what is done, at which rate, where in the window, and the time left."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[at]}"), TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )
        self._task = self._progress.add_task(what, total=total, rate="", at="")

    def __enter__(self) -> "tuple[Progress, Any]":
        self._progress.start()
        return self._progress, self._task

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _shown(ms: int) -> str:
    from pipeline.replay.window import shown

    return shown(ms)


