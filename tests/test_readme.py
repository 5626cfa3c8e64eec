"""The README's tables against the code, so that neither can change alone."""

import re
from pathlib import Path

import orjson
import pytest
from honcho.environ import parse_procfile

from pipeline.settings import Settings, load_settings
from pipeline.shipped import shipped
from pipeline.simulator import FAULTS

README = (Path(__file__).parents[1] / "README.md").read_text()


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> dict[str, list[str]]:
    """The rows of a section's tables by their first cell, which is `code`."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return str(alias) if alias else f"MASSIVE_{name.upper()}"


_UNSHOWN = {
    "redis_url", "api_key", "data_dir", "widths", "namespace", "gateway_token", "gateway_tls_cert", "gateway_tls_key",
    "gateway_origins",
}


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_a_row_with_its_default(name: str) -> None:
    told = rows("Settings").get(variable(name))
    assert told is not None, f"no row for {variable(name)}"
    default = getattr(load_settings(), name)
    if name not in _UNSHOWN:
        shown = ",".join(default) if isinstance(default, tuple) else default
        assert told[0].strip("`") == (f"{shown:g}" if isinstance(shown, float) else str(shown))


def test_no_row_is_of_a_setting_that_is_gone() -> None:
    assert set(rows("Settings")) - {variable(name) for name in Settings.model_fields} == {"MASSIVE_LOG"}


def test_every_fault_has_a_row() -> None:
    assert set(rows("The simulated provider")) == set(FAULTS)


def test_every_stage_has_a_row() -> None:
    assert list(rows("Stages")) == list(parse_procfile(shipped("Procfile").read_text()).processes)


def test_the_capacity_table_tells_what_was_measured_last() -> None:
    """A fifth off is another machine's noise; more is a table that was forgotten."""
    benchmarks = orjson.loads((Path(__file__).parents[1] / "deploy" / "bench.json").read_bytes())
    figures = {benchmark["name"]: benchmark["figures"] for benchmark in benchmarks}
    told = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("Deployment").splitlines() if line.startswith(("| `hydrate`", "| `calculate`"))
    ]
    measured = [
        ["hydrate_1", "hydrate_2", "hydrate_4"], ["hydrate_1_10x"], ["hydrate_1_10x_all", "hydrate_4_10x_all"],
        ["calculate_1", "calculate_2", "calculate_4"],
    ]
    for row, names in zip(told, measured, strict=True):
        shown = [float(cell.replace(",", "")) for cell in row[1:4] if cell]
        assert shown == pytest.approx([figures["scale"][name]["median"] for name in names], rel=0.2), row[0]
        busy = [float(cell) for cell in row[4].split(",")]
        expected = [figures["scale"][f"{name}_redis_busy"]["median"] for name in names]
        assert busy == pytest.approx(expected, rel=0.2), row[0]
    (contract,) = re.findall(r"(\d[\d,]*) \+ (\d[\d,]*) \+ (\d[\d,]*) \|", section("Deployment"))
    names = ("contract", "tiles_of_a_contract", "documents_of_a_contract")
    assert [float(part.replace(",", "")) for part in contract] == pytest.approx(
        [figures["memory"][name]["median"] for name in names], rel=0.2
    )


def test_the_first_two_shell_blocks_run_it_and_test_it() -> None:
    first, second = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[:2]
    assert first.rstrip().endswith("marketswarm up")
    assert "pytest" in second
