"""`marketswarm bench`: how fast it is, each figure beside its yardstick, measured in the same run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.refused import Failed, Refused

if TYPE_CHECKING:
    from pipeline.bench.benchmark import Benchmark, Measured


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object; without NAME a list of them.")
@click.option("--seconds", type=click.FloatRange(0.05, 600), default=2.0, show_default=True,
              help="About how long one measured piece takes.")
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True,
              help="How often each is measured, in turn with its yardstick.")
@click.option("--redis-url", metavar="URL", default="",
              help="Measure on an empty database of this server [default: a server like that of `up`].")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html",
              help="Write a report with charts as well.")
@click.option("--profile", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Then feed the stages 5,000 events a second once more, and write a flame graph of each and what "
                   "scripts and commands cost the server.")
def bench(
    name: str | None, as_json: bool, seconds: float, repeats: int, redis_url: str, report: Path | None,
    profile: Path | None,
) -> None:
    """Measure the benchmark NAME, or all of them.

    Status 1 if one could not be measured. A goal that is missed is shown, and is no failure of the command.
    """
    from pipeline.logs import configure_logs

    configure_logs()  # to stderr: stdout is the result's
    chosen = _chosen(name)
    if report is not None:
        _check_report(report)
    if profile is not None:
        _check_profile(profile)
    measured: list[Measured] = []
    failed: list[str] = []
    for benchmark in chosen:
        one = _measure(benchmark, seconds, repeats, redis_url)
        if isinstance(one, str):
            failed.append(one)
            continue
        measured.append(one)
        if not as_json:
            _show_table(one)
    if as_json:
        _show_json(measured, one_alone=name is not None)
    if report is not None and measured:
        _write_report(report, measured)
    if profile is not None:
        failed += _profile(profile, seconds, redis_url)
    if failed:
        raise Failed("; ".join(failed))


def _chosen(name: str | None) -> "list[Benchmark]":
    from pipeline.bench.registry import benchmarks

    known = benchmarks()
    if name is None:
        return list(known.values())
    if name not in known:
        raise Refused(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    return [known[name]]


def _measure(benchmark: "Benchmark", seconds: float, repeats: int, redis_url: str) -> "Measured | str":
    """What was measured, or in one line why it could not be."""
    from pipeline.bench.benchmark import Measured, prepared, say
    from pipeline.bench.environment import environment
    from pipeline.bench.measure import BenchError

    with prepared(redis_url, seconds, repeats) as place:
        say(f"{benchmark.name}: {benchmark.what}, beside {benchmark.yardstick}")
        where = environment(place.database(), place.settings())
        try:
            return Measured(benchmark, benchmark.run(place), where)
        except BenchError as error:
            say(f"{benchmark.name}: {error}")
            return f"{benchmark.name}: {error}"


def _show_table(measured: "Measured") -> None:
    from pipeline.bench.board import tables
    from pipeline.cli.board import wide_console

    wide_console(140).print(tables(measured), highlight=False)


def _show_json(measured: "list[Measured]", one_alone: bool) -> None:
    import orjson

    records = [one.record() for one in measured]
    if one_alone and not records:
        return  # it failed, which is said on stderr
    shown = records[0] if one_alone else records
    click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())


def _check_report(path: Path) -> None:
    """Before anything is measured: minutes later is late to say that it cannot be written."""
    from importlib.util import find_spec

    if find_spec("pygal") is None:
        raise Refused("--report: charts need pygal: pip install 'marketswarm[bench]'")
    if not path.absolute().parent.is_dir():
        raise Refused(f"--report: there is no directory {path.absolute().parent}")


def _write_report(path: Path, measured: "list[Measured]") -> None:
    from pipeline.cli.bench_report import report_page

    try:
        path.write_text(report_page(measured), encoding="utf-8")
    except OSError as error:
        raise Failed(f"--report: {path}: {error.strerror}") from None


def _check_profile(folder: Path) -> None:
    from pipeline.bench.flames import recorder

    if not recorder():
        raise Refused("--profile: flame graphs need py-spy: pip install 'marketswarm[bench]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"--profile: {folder}: {error.strerror}") from None


def _profile(folder: Path, seconds: float, redis_url: str) -> list[str]:
    """Why it could not be done, in one line, or nothing."""
    from pipeline.bench.benchmark import prepared, say
    from pipeline.bench.flames import record
    from pipeline.bench.measure import BenchError

    with prepared(redis_url, seconds, 1) as place:
        say(f"profile: the stages at work, into {folder}")
        try:
            record(place, folder)
        except (BenchError, OSError) as error:
            say(f"profile: {error}")
            return [f"profile: {error}"]
    return []
