"""The status for people's eyes: tables on a terminal, one line a symbol in a log."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table

from pipeline.status import EpochStatus, ModelStatus, Status

SHOWN = {
    "heatmap": "heatmap v", "gex": "gex v", "market_mode": "mode v", "liquidity_intent": "intent v",
    "dealer_gravity": "gravity v",
}
"""Models whose versions the board has a column for; `status --json` has them all."""


def age(ms: int | None) -> str:
    """``850 ms``, ``12.3 s``, ``4 min``, ``3.1 h``; a dash for none."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{ms} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms / 60_000:.0f} min" if ms < 100 * 60_000 else f"{ms / 3_600_000:.1f} h"


def wide_console(width: int) -> Console:
    """A console as wide as the terminal; into a pipe a line is as long as it must be, up to ``width`` characters."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def table(*columns: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return made


def symbol_table(status: Status) -> Table:
    """A row a symbol: its epoch and how far each model has come."""
    shown = table("symbol", "epoch age", "contracts", "panes", "dirty", *SHOWN.values(), "newest")
    for symbol, models in status.models.items():
        epoch = status.epochs.get(symbol)
        shown.add_row(
            symbol, *_epoch_cells(epoch), *(_version(models.get(model)) for model in SHOWN),
            age(min((model.age_ms for model in models.values()), default=None)),
        )
    return shown


def _epoch_cells(epoch: EpochStatus | None) -> tuple[str, str, str, str]:
    if epoch is None:
        return ("none yet", "-", "-", "-")
    state = "" if epoch.state == "active" else f" ({epoch.state})"
    return (age(epoch.age_ms) + state, f"{epoch.contracts}", f"{epoch.panes}", f"{epoch.dirty}")


def _version(model: ModelStatus | None) -> str:
    return "-" if model is None else str(model.version)


def stage_table(status: Status) -> Table:
    shown = table("stage", "lag", "pending", "oldest", "consumers")
    for name, stage in status.stages.items():
        shown.add_row(name, f"{stage.lag}", f"{stage.pending}", age(stage.oldest_ms), f"{stage.consumers}")
    return shown


def status_tables(status: Status) -> RenderableType:
    faults = f"dead letters {status.dead}, drift {status.drift}"
    return Group(symbol_table(status), "", stage_table(status), "", faults)


def epoch_table(status: Status) -> Table:
    shown = table("SYMBOL", "EPOCH", "AGE", "DIRTY", "DORMANT", "FORCED", "WS", "HEATMAP", "GEX")
    for symbol, epoch in status.epochs.items():
        models = status.models.get(symbol, {})
        shown.add_row(
            symbol, epoch.epoch, age(epoch.age_ms), f"{epoch.dirty}", f"{epoch.dormant}", f"{epoch.forced}",
            f"{epoch.ws_updates}", _version(models.get("heatmap")), _version(models.get("gex")),
        )
    return shown


def status_lines(status: Status) -> Iterator[str]:
    """A line a symbol, for where there is no terminal."""
    lag = sum(stage.lag for stage in status.stages.values())
    for symbol, models in status.models.items():
        epoch = status.epochs.get(symbol)
        if epoch is None:
            yield f"{symbol} waits for its first chain"
            continue
        versions = f"heatmap v{_version(models.get('heatmap'))}, gex v{_version(models.get('gex'))}"
        dirty = f"{epoch.dirty} of {epoch.panes} panes dirty"
        yield f"{symbol} epoch {age(epoch.age_ms)} old, {epoch.contracts} contracts, {dirty}, {versions}, lag {lag}"
