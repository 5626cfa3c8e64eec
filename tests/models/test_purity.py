"""G7: a model depends on its arguments alone, so its modules may not even reach for anything else."""

import ast
import sys
from pathlib import Path

import pytest

import pipeline.models

MODULES = sorted(Path(next(iter(pipeline.models.__path__))).glob("*.py"))
WORLDLY = {"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
CLOCKS = {"now", "utcnow", "today"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_models_import_numbers_and_the_standard_library_only(module):
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert (
                top in {"numpy", "scipy", "orjson"}
                or top in sys.stdlib_module_names
                or name.startswith("pipeline.models")
            ), f"{module.name} imports {name}"
            assert top not in WORLDLY, f"{module.name} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_models_never_read_a_clock(module):
    attributes = {node.attr for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)}
    assert not attributes & CLOCKS
