"""`marketswarm bench` as it is run."""

import json
from pathlib import Path

import pytest
from walrus import Database

from tests.cli.run import marketswarm, refused


def bench(*words: str, repeats: int = 1) -> dict[str, object]:
    answer = marketswarm("bench", *words, "--json", "--seconds", "0.05", "--repeats", str(repeats))
    assert answer.returncode == 0, answer.stderr
    told: dict[str, object] = json.loads(answer.stdout)
    return told


def test_json_is_one_object_of_the_promised_shape() -> None:
    told = bench("models", repeats=2)
    assert list(told) == ["name", "figures", "ratios", "environment"]
    assert told["name"] == "models"
    ratios, figures, environment = told["ratios"], told["figures"], told["environment"]
    assert isinstance(ratios, dict)
    assert isinstance(figures, dict)
    assert isinstance(environment, dict)
    assert set(ratios["vs_kernel"]) == {"min", "median", "max"}
    assert set(figures["all_models"]) == {"min", "median", "max", "unit"}
    assert figures["all_models"]["min"] <= figures["all_models"]["median"] <= figures["all_models"]["max"]
    assert {"cpu", "cores", "kernel", "python", "packages", "server", "load_average", "date", "marketswarm"} <= set(
        environment
    )
    assert environment["server"]["aof"] is True, "measured on the server that `up` starts"


def test_a_table_is_shown_by_default_with_goals_and_a_progress_on_stderr() -> None:
    answer = marketswarm("bench", "models", "--seconds", "0.1", "--repeats", "1")
    assert answer.returncode == 0, answer.stderr
    assert "vs_kernel" in answer.stdout
    assert "≤ 12" in answer.stdout
    assert answer.stderr.startswith("models: ")


def test_a_server_of_ones_own_is_used_and_left_empty(redis_url: str, database: Database) -> None:
    told = bench("old", "--redis-url", redis_url)
    assert set(told["ratios"]) >= {"cpu", "bytes"}  # type: ignore[call-overload]
    assert database.dbsize() == 0


def test_a_database_that_is_not_empty_is_refused_and_not_touched(redis_url: str, database: Database) -> None:
    database.set("somebody's", "value")
    line = refused(marketswarm("bench", "old", "--redis-url", redis_url))
    assert line.endswith("is not empty (1 keys): a benchmark empties it")
    assert database.get("somebody's") == b"value"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nobody",), r"there is no benchmark 'nobody'; there are "),
        (("old", "--redis-url", "http://localhost"), r"REDIS_URL: "),
        (("old", "--redis-url", "redis://127.0.0.1:1/0"), r"no Redis at redis://127.0.0.1:1"),
        (("old", "--report", "/no/such/folder/x.html"), r"--report: "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: tuple[str, ...], line: str) -> None:
    assert refused(marketswarm("bench", *words)).startswith(line.replace("\\", ""))


def test_a_report_is_written(tmp_path: Path) -> None:
    pytest.importorskip("pygal", reason="pygal is not installed: it is of the `bench` extra")
    path = tmp_path / "report.html"
    answer = marketswarm("bench", "models", "--seconds", "0.1", "--repeats", "1", "--report", str(path))
    assert answer.returncode == 0, answer.stderr
    assert "<svg" in path.read_text()
