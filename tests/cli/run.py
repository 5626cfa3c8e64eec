"""Running `marketswarm` as its users do: another process, its own environment, its exit status and what it said."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "pipeline.cli")


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **variables}


def marketswarm(*words: str, timeout: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run to its end. Everything that is not a word of the command is an environment variable."""
    return subprocess.run(
        [*COMMAND, *words], env=environment(**variables), cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL, check=False,
    )


def refused(answer: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The one line on stderr of a command that could not. Raises AssertionError for anything else."""
    assert answer.returncode == status, answer.stderr
    assert answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("marketswarm: ")
    return lines[0].removeprefix("marketswarm: ")
