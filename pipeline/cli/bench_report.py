"""The report: one HTML file with tables and charts, which needs no network and no script."""

import html
import math
import re
from collections.abc import Mapping, Sequence

import pygal
from pygal.style import Style

from pipeline.bench.benchmark import Measured
from pipeline.bench.board import number
from pipeline.bench.measure import Goal, Sample

_ROW_PX, _FRAME_PX, _WIDTH_PX = 30, 70, 900
_SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)  # the settings of a script that is not loaded
_MANY = 50.0
"""Greatest over least of a chart's bars, from which their axis is logarithmic: else the small ones cannot be seen."""

# Colours are the page's variables: a chart is part of the page, and turns dark with it.
_STYLE = Style(
    background="transparent", plot_background="transparent", foreground="var(--ink)", foreground_strong="var(--ink)",
    foreground_subtle="var(--faint)", guide_stroke_color="var(--line)", major_guide_stroke_color="var(--line)",
    colors=("var(--bar)",), value_colors=("var(--ink)",), ci_colors=("var(--ink)",), opacity=".9",
    font_family="system-ui, sans-serif", label_font_size=13, major_label_font_size=13, value_font_size=12,
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>marketswarm bench</title>
<style>
:root {{ color-scheme: light dark; --paper: #fbfbfa; --ink: #22252a; --faint: #6c727b; --line: #d9dbde;
  --bar: #5b7fa6; --good: #2f7d4f; --bad: #b3392f; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #17191c; --ink: #dfe2e6; --faint: #979da6; --line: #34383e;
  --bar: #6f97c2; --good: #63bd87; --bad: #e07a70; }} }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin: 2.5rem 0 0; }}
p {{ margin: .2rem 0 .8rem; color: var(--faint); }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }}
th, td {{ padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right; }}
th:first-child, td:first-child, td.word {{ text-align: left; }} th {{ font-weight: 600; }}
.met {{ color: var(--good); }} .missed {{ color: var(--bad); }}
figure {{ margin: .8rem 0; }} figcaption {{ color: var(--faint); }}
svg {{ width: 100%; height: auto; }}
</style>
<h1>marketswarm bench</h1>
{environment}
{summary}
{sections}
</html>
"""


def report_page(measured: Sequence[Measured]) -> str:
    """The whole file. ``measured`` holds at least one, all of the same machine."""
    return _PAGE.format(
        environment=_environment(measured[0].environment), summary=_summary(measured),
        sections="\n".join(_section(one) for one in measured),
    )


def _section(measured: Measured) -> str:
    benchmark, result = measured.benchmark, measured.result
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in result.notes)
    return "\n".join((
        f"<h2>{html.escape(benchmark.name)}</h2>",
        f"<p>{html.escape(benchmark.what)}, beside {html.escape(benchmark.yardstick)}</p>",
        _ratios(measured), *_charts(result.figures), notes,
    ))


def _ratios(measured: Measured) -> str:
    rows = [
        (key, *(number(value) for value in (sample.min, sample.median, sample.max)),
         *_verdict(measured.benchmark.goals.get(key), sample))
        for key, sample in measured.result.ratios.items()
    ]
    return _table(("ratio", "min", "median", "max", "goal", ""), rows)


def _verdict(goal: Goal | None, sample: Sample) -> tuple[str, str]:
    if goal is None:
        return "", ""
    return str(goal), "met" if goal.met_by(sample.median) else "missed"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table>", "<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = (f"<td{_class(cell)}>{html.escape(cell)}</td>" for cell in row)
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join((*lines, "</table>"))


def _class(cell: str) -> str:
    return f' class="word {cell}"' if cell in {"met", "missed"} else ""


def _charts(figures: Mapping[str, Sample]) -> list[str]:
    """A chart a unit: what has the same unit can be compared."""
    by_unit: dict[str, dict[str, Sample]] = {}
    for name, sample in figures.items():
        by_unit.setdefault(sample.unit, {})[name] = sample
    return [
        f"<figure><figcaption>{html.escape(unit)}</figcaption>{_chart(of_unit)}</figure>"
        for unit, of_unit in by_unit.items()
    ]


def _summary(measured: Sequence[Measured]) -> str:
    """How far each ratio is from its goal, as one chart: beyond 1 it is met."""
    reached = {
        f"{one.benchmark.name} {key}": share
        for one in measured
        for key, goal in one.benchmark.goals.items()
        if key in one.result.ratios and (share := _share_of_goal(goal, one.result.ratios[key])) is not None
    }
    if not reached:
        return ""
    caption = "part of its goal that each ratio reaches; it is met from 1 on"
    return f"<figure><figcaption>{caption}</figcaption>{_chart(reached)}</figure>"


def _share_of_goal(goal: Goal, sample: Sample) -> Sample | None:
    """Above 1 beyond the goal, whichever way it points; None where there is no such part, as of a goal of 0."""
    if goal.at_least is not None:
        return Sample(tuple(value / goal.at_least for value in sample.values)) if goal.at_least else None
    bound = goal.at_most or 0.0
    return Sample(tuple(bound / value for value in sample.values)) if bound and min(sample.values) > 0.0 else None


def _chart(figures: Mapping[str, Sample]) -> str:
    """Bars of the medians, a whisker from the least to the greatest."""
    least, greatest = min(sample.min for sample in figures.values()), max(sample.max for sample in figures.values())
    chart = pygal.HorizontalBar(
        style=_STYLE, js=[], show_legend=False, truncate_label=-1, margin=10, margin_right=40, explicit_size=False,
        width=_WIDTH_PX, height=_FRAME_PX + _ROW_PX * len(figures), formatter=number, disable_xml_declaration=True,
    )
    if least > 0.0 and greatest / least > _MANY:
        decades = [10.0**n for n in range(math.floor(math.log10(least)), math.ceil(math.log10(greatest)) + 1)]
        chart.logarithmic, chart.zero, chart.range = True, decades[0], (decades[0], decades[-1])
        chart.y_labels = [{"value": decade, "label": number(decade)} for decade in decades]
    bars = list(figures.items())[::-1]  # the first on top
    chart.x_labels = [f"{name}  {number(sample.median)}" for name, sample in bars]
    chart.add("", [
        {"value": sample.median, "ci": {"low": sample.min, "high": sample.max}} for _, sample in bars
    ])
    return _SCRIPT.sub("", chart.render(is_unicode=True))


def _environment(environment: Mapping[str, object]) -> str:
    rows = []
    for name, value in environment.items():
        shown = ", ".join(f"{key} {of}" for key, of in value.items()) if isinstance(value, Mapping) else str(value)
        if shown:
            rows.append((name.replace("_", " "), shown))
    return "<details><summary>machine, versions and server</summary>" + _table(("", ""), rows) + "</details>"
