"""`marketswarm doctor`: is everything there that the pipeline needs, and if not, what to do about it."""

from pathlib import Path

import click

from pipeline.cli.reach import data_dir_option, settings_in


@click.command()
@data_dir_option
def doctor(data_dir: Path | None) -> None:
    """Check the server, the provider, the key, the clocks and the data directory. Status 1 if anything must be mended.

    The key is sent to the provider alone, and shown nowhere.
    """
    from rich.console import Console
    from rich.table import Table

    from pipeline.checkup import examine

    findings = examine(settings_in(data_dir))
    table = Table(box=None, pad_edge=False, show_header=False)
    signs = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]mend[/]"}
    for finding in findings:
        table.add_row(signs[finding.grade], finding.about, finding.found)
        if finding.mend:
            table.add_row("", "", f"-> {finding.mend}")
    Console().print(table, highlight=False)
    if any(finding.grade == "bad" for finding in findings):
        raise SystemExit(1)
