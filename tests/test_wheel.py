"""What is shipped: a wheel that works where there is no checkout."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without isolation: the build backend is one of the suite's own requirements."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT], check=True,
        capture_output=True, timeout=120,
    )
    return next(out.glob("marketswarm-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of executables of an environment that has the wheel, and this one's packages for the rest."""
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=120)
    packages = next(home.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Behind the wheel's own, so that whatever the wheel lacks of ours would not be hidden by the checkout's.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(installed: Path, code: str) -> str:
    """Python code in that environment, from a folder that holds nothing."""
    return subprocess.run(
        [installed / "python", "-c", code], cwd=installed, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_wheel_holds_all_scripts_and_the_procfile_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "lua").rglob("*.lua"):
        assert f"pipeline/lua/{path.relative_to(ROOT / 'lua')}" in names
    for path in (ROOT / "pipeline" / "schemas").glob("*.json"):
        assert f"pipeline/schemas/{path.name}" in names
    assert {"pipeline/Procfile", "pipeline/dashboard/index.html"} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_it_runs_where_there_is_no_checkout(installed: Path) -> None:
    where = run(installed, "import pipeline, consumers; print(pipeline.__file__, consumers.__file__)").split()
    assert all(Path(path).is_relative_to(installed.parent) for path in where)
    text = run(installed, "import sys; sys.argv = ['marketswarm', '--help']\nfrom pipeline.cli import main; main()")
    assert "worker" in text


def test_every_script_loads_from_there(installed: Path) -> None:
    names = run(installed, "from pipeline.scripts import sources; print(*sources())").split()
    assert set(names) == {path.stem for path in (ROOT / "lua").glob("*.lua")}


def test_every_schema_is_read_from_there(installed: Path) -> None:
    names = run(installed, "from pipeline.schemas import names, schema; print(*names()); list(map(schema, names()))")
    assert set(names.split()) == {path.stem for path in (ROOT / "pipeline" / "schemas").glob("*.json")} - {"common"}


def test_every_line_of_the_procfile_names_a_stage_that_is_shipped(installed: Path) -> None:
    run(installed, """
from honcho.environ import parse_procfile
from pipeline.cli.worker import _stage
from pipeline.shipped import shipped
for name, command in parse_procfile(shipped("Procfile").read_text()).processes.items():
    assert command == f"marketswarm worker {name}", command
    _stage(name)
""")
