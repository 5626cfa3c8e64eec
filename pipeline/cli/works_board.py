"""What the stages do just now, for people's eyes."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.cli.board import age, symbol_table, table
from pipeline.readings import FULL, Works
from pipeline.status import Status

EVENTS = ("events", "conflated", "applied", "stale", "geometry_miss")


def amount(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def per_second(value: float | None) -> str:
    """``0``, ``0.4``, ``37``, ``12,300``."""
    return "-" if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def lasting(seconds: float | None) -> str:
    """``0.8 ms``, ``37 ms``, ``1.2 s``: as an age, but finer."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else age(round(seconds * 1000))


def works_table(works: Works) -> Table:
    shown = table(
        "stage", "processes", "came/s", "done/s", "busy", "lag", "oldest", "step p50", "step p99", "tick p99",
        "errors/s",
    )
    for name, work in works.stages.items():
        worst = work.processes == 0 or work.errors_per_s > 0 or (work.busy or 0) > FULL
        shown.add_row(
            name, f"{work.processes}", per_second(work.arrived_per_s), per_second(work.done_per_s),
            amount(work.busy, ".0%"), f"{work.lag:,}", age(work.oldest_ms), lasting(work.latency_p50_s),
            lasting(work.latency_p99_s), lasting(work.tick_p99_s), per_second(work.errors_per_s),
            style="yellow" if worst else "",
        )
    return shown


def top_board(works: Works, status: Status, faults: Sequence[str] = ()) -> RenderableType:
    """Everything `top` shows: what is wrong first, then what flows, the stages, the epochs."""
    wrong = [Text(fault, "bold red") for fault in faults]
    if status.dead:
        wrong.append(Text(f"{status.dead} dead letters: marketswarm dead list", "bold red"))
    if status.drift:
        wrong.append(Text(f"drift {status.drift}: incremental results differed from full ones", "bold red"))
    if works.silent:
        wrong.append(Text(f"did not answer: {', '.join(works.silent)}", "yellow"))
    events = ", ".join(f"{name} {per_second(works.events_per_s.get(name, 0.0))}/s" for name in EVENTS)
    dead = Text(f"redis busy {works.redis_busy:.0%}   {events}   dead letters {status.dead}   drift {status.drift}")
    return Group(*wrong, dead, "", works_table(works), "", symbol_table(status))
