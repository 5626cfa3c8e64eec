"""A measured benchmark for people's eyes: its ratios with their goals, then its figures."""

from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.bench.benchmark import Measured
from pipeline.bench.measure import Sample


def tables(measured: Measured) -> RenderableType:
    benchmark, result = measured.benchmark, measured.result
    title = f"[bold]{benchmark.name}[/]: {benchmark.what}\n  beside {benchmark.yardstick}"
    notes = [f"  note: {note}" for note in result.notes]
    return Group(title, "", _ratios(measured), "", _figures(measured), *notes, "")


def number(value: float) -> str:
    """Four digits of it, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cells(sample: Sample) -> tuple[str, str, str]:
    return number(sample.min), number(sample.median), number(sample.max)


def _ratios(measured: Measured) -> Table:
    table = _table("ratio", "measured", "yardstick", "min", "median", "max", "goal", "")
    result, goals = measured.result, measured.benchmark.goals
    for key, sample in result.ratios.items():
        pair = [number(result.figures[name].median) for name in result.pairs.get(key, ())] or ["", ""]
        goal = goals.get(key)
        verdict = "" if goal is None else "[green]met[/]" if goal.met_by(sample.median) else "[red]missed[/]"
        table.add_row(key, *pair, *_cells(sample), "" if goal is None else str(goal), verdict)
    return table


def _figures(measured: Measured) -> Table:
    table = _table("figure", "min", "median", "max", "unit")
    for name, sample in measured.result.figures.items():
        table.add_row(name, *_cells(sample), sample.unit)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, header_style="bold")
    for column in columns:
        left = column in {"ratio", "figure", "unit", ""}
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    return table
