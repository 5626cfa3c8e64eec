"""Where time goes: a flame graph of each stage under the load of `tick`, and what scripts and commands cost the server.

Looking costs time itself, so what is looked at here is fed anew, and none of it is in any figure.
"""

import hashlib
import os
import shutil
import subprocess
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from walrus import Database

from pipeline.bench.benchmark import Bench
from pipeline.bench.market import Chain, open_market, small
from pipeline.bench.measure import BenchError
from pipeline.bench.tick import STAGES, assemble, await_published, through_stages, warm_up
from pipeline.bench.workers import workers
from pipeline.scripts import sources

RATE = 5_000
_SAMPLES_PER_S = 200
_SPARE_S = 1  # py-spy takes a moment to find its way around a process
_SLOWLOG_MAX = 1_000_000  # an entry a command while it is on


def recorder() -> str:
    """The path of py-spy, or '' where it is not installed."""
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy") or ""


def record(bench: Bench, folder: Path, chain: Callable[[], Chain] = small) -> list[Path]:
    """Feed 5,000 events a second; write ``hydrate.svg``, ``calculate.svg``, ``models.svg`` and ``redis.txt`` there.

    Raises BenchError where py-spy may not look at a process: it says what to do.
    """
    seconds = max(1, round(bench.seconds))
    with ExitStack() as stack:
        crew = assemble(bench.redis_url, stack)
        market = open_market(bench, chain(), deferring=True)
        with workers(bench, market.settings, STAGES) as running:
            await_published(market, running)
            warm_up(crew, market, running, bench.seconds)
            graphs = {name.partition("-")[0]: process.pid for name, process in running.processes.items()}
            with _recorded(folder, graphs, seconds), _costs(market.database, folder / "redis.txt"):
                through_stages(crew, market, running, RATE, seconds + _SPARE_S)
    return [*(folder / f"{stage}.svg" for stage in graphs), folder / "redis.txt"]


@contextmanager
def _recorded(folder: Path, pids: Mapping[str, int], seconds: int) -> Iterator[None]:
    """py-spy beside each process. It samples the threads that are not idle."""
    recorders = [
        subprocess.Popen(
            [recorder(), "record", "--format", "flamegraph", "--rate", str(_SAMPLES_PER_S), "--duration", str(seconds),
             "--output", str(folder / f"{stage}.svg"), "--pid", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for stage, pid in pids.items()
    ]
    try:
        yield
    finally:
        for one in recorders:
            try:
                _, said = one.communicate(timeout=seconds + 30)
            except subprocess.TimeoutExpired:
                one.kill()
                _, said = one.communicate()
            if one.returncode:
                raise BenchError(f"py-spy: {(said.strip().splitlines() or ['it said nothing'])[-1]}")


@contextmanager
def _costs(database: Database, path: Path) -> Iterator[None]:
    """What the server spent meanwhile, by script and by command. INFO knows EVALSHA alone: the slow log tells scripts
    apart, for which every command is slow for the time being. That makes a script some tenths dearer than it is."""
    before = database.config_get("slowlog-*")
    database.config_resetstat()
    database.config_set("slowlog-max-len", _SLOWLOG_MAX)
    database.config_set("slowlog-log-slower-than", 0)
    database.slowlog_reset()
    began = time.perf_counter()
    try:
        yield
        database.config_set("slowlog-log-slower-than", -1)
        wall_s = time.perf_counter() - began
        path.write_text(_scripts(database, wall_s) + "\n" + _commands(database, wall_s))
    finally:
        database.slowlog_reset()
        for name, value in before.items():
            database.config_set(name, value)


def _scripts(database: Database, wall_s: float) -> str:
    names = {hashlib.sha1(source.text.encode(), usedforsecurity=False).hexdigest(): name
             for name, source in sources().items()}
    taken_us: dict[str, list[int]] = defaultdict(list)
    for entry in database.slowlog_get(_SLOWLOG_MAX):
        words = entry["command"].split(b" ", 2)
        if words[0].upper() == b"EVALSHA":
            taken_us[names.get(words[1].decode(), "of somebody else")].append(entry["duration"])
    costs = {name: (len(us), sum(us), max(us)) for name, us in taken_us.items()}
    return _table("script, with the commands it calls", costs, wall_s)


def _commands(database: Database, wall_s: float) -> str:
    """Those that scripts call count here as well, and in EVALSHA once more."""
    stats = database.info("commandstats").items()
    costs = {name.removeprefix("cmdstat_"): (row["calls"], row["usec"], None) for name, row in stats}
    return _table("command", {name: cost for name, cost in costs.items() if "slowlog" not in name}, wall_s)


def _table(what: str, costs: Mapping[str, tuple[int, int, int | None]], wall_s: float) -> str:
    """(calls, us in all, us of the longest) by name."""
    lines = [f"{what:36}{'calls':>10}{'ms':>10}{'% of wall':>11}{'us a call':>11}{'longest us':>12}"]
    for name, (calls, us, longest) in sorted(costs.items(), key=lambda item: -item[1][1]):
        lines.append(f"{name:36}{calls:>10,}{us / 1e3:>10,.1f}{us / 1e4 / wall_s:>11.2f}{us / calls:>11.1f}"
                     f"{'' if longest is None else f'{longest:,}':>12}")
    return "\n".join(line.rstrip() for line in lines) + "\n"
