"""What cannot be is said in one line, with a status, without a traceback and without a secret."""

import re
from pathlib import Path

import pytest

from tests.cli.run import ROOT, marketswarm, refused

COMMANDS = ["dead", "doctor", "epoch", "simulate", "status", "up", "worker"]


def test_help_lists_every_command() -> None:
    text = marketswarm("--help").stdout
    listed = re.findall(r"^  (\w+)  ", text.split("Commands:")[1], re.MULTILINE)
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("up", "--symbols", "SP-X"), r"MASSIVE_SYMBOLS: 'SP-X' is not a symbol"),
        (("up", "--scale", "nobody=2"), r"--scale: 'nobody' is no stage of the Procfile; there are chain, "),
        (("up", "--live"), r"MASSIVE_API_KEY: --live needs it"),
        (("up", "--fault", "nothing"), r"unknown fault 'nothing'; known: 401"),
        (("up", "--rate", "-1"), r"rate -1\.0 is not between"),
        (("simulate", "--fault", "drop:soon"), r"'soon' is not a number"),
        (("simulate", "--clock", "noon"), r"noon"),
        (("simulate", "--symbols", "SPX", "--rate", "1e9"), r"rate 1000000000\.0 is not between"),
        (("worker", "nobody"), r"there is no stage 'nobody'; there are "),
        (("worker", "hydrate"), r"REDIS_URL: not set"),
        (("dead", "retry"), r"nothing runs in"),
    ],
)
def test_it_is_one_line(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    answer = marketswarm(*words, MASSIVE_DATA_DIR=str(tmp_path))
    assert re.search(line, refused(answer, 1 if words[0] == "dead" else 2))


@pytest.mark.parametrize("command", [("status",), ("epoch", "inspect"), ("dead", "list")])
def test_nothing_running_is_said_with_what_to_do(command: tuple[str, ...], tmp_path: Path) -> None:
    line = refused(marketswarm(*command, "--data-dir", str(tmp_path)), 1)
    assert line == f"nothing runs in {tmp_path}: start `marketswarm up`, or set --data-dir or REDIS_URL"


def test_a_bad_variable_is_named_by_every_command() -> None:
    for words in (("status",), ("up",), ("worker", "hydrate"), ("doctor",)):
        line = refused(marketswarm(*words, MASSIVE_BLOCK_MS="5000", REDIS_URL="redis://localhost"))
        assert line.startswith("MASSIVE_BLOCK_MS: ")


def test_a_password_is_not_in_what_is_said() -> None:
    for url in ("redis://:hunter2@127.0.0.1:1/0", "http://:hunter2@127.0.0.1"):
        answer = marketswarm("up", REDIS_URL=url)
        assert "hunter2" not in refused(answer)


def test_the_key_is_not_in_what_is_said() -> None:
    answer = marketswarm("doctor", MASSIVE_API_KEY="hunter2", MASSIVE_REST_URL="http://127.0.0.1:1",
                         MASSIVE_WS_URL="ws://127.0.0.1:1")
    assert answer.returncode == 1
    assert "hunter2" not in answer.stdout + answer.stderr


def test_the_wrapper_is_a_shell_script_that_runs_epoch_inspect() -> None:
    script = ROOT / "deploy" / "epoch-inspect.sh"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith('exec marketswarm epoch inspect "$@"')
