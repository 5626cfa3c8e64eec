"""The processes of `up`: restarted when they die, ended together, and gone when whoever started them is gone."""

import io
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from honcho.printer import Printer

from pipeline.supervisor import Supervisor, parse_scale
from tests.waiting import wait_until

ENDLESS = "import threading, sys; print('here', flush=True); threading.Event().wait()"
DEAF = (
    "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
    "threading.Event().wait()"
)
PARENT = (
    "import subprocess, sys, threading; child = subprocess.Popen([sys.executable, '-c', 'import threading; "
    "threading.Event().wait()']); print(child.pid, flush=True); threading.Event().wait()"
)


def python(code: str, *words: str) -> str:
    return shlex.join([sys.executable, "-c", textwrap.dedent(code), *words])


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def supervisor(output: io.StringIO) -> Iterator[Supervisor]:
    supervisor = Supervisor(Printer(output))
    yield supervisor
    supervisor.stop(list(supervisor.pids()), 0.1, lambda: True)
    supervisor.close()


def until(supervisor: Supervisor, predicate: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    def turned() -> object:
        supervisor.turn(0.01)
        return predicate()

    wait_until(turned, what, timeout)


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_they_say_comes_out_under_their_name(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("hydrate.1", python("print('a line')\nprint('another')"), {})
    supervisor.start("hydrate.1")
    until(supervisor, lambda: "another" in output.getvalue(), "its lines")
    assert "hydrate.1 | a line\n" in output.getvalue()


def test_one_that_dies_is_started_again_and_the_others_go_on(supervisor: Supervisor, output: io.StringIO) -> None:
    for name in ("a.1", "b.1"):
        supervisor.add(name, python(ENDLESS), {})
        supervisor.start(name)
    until(supervisor, lambda: output.getvalue().count("here") == 2, "both to run")
    first = supervisor.pids()
    psutil.Process(first["a.1"]).kill()
    until(supervisor, lambda: output.getvalue().count("here") == 3, "the restart")
    assert supervisor.pids()["b.1"] == first["b.1"]
    assert supervisor.pids()["a.1"] != first["a.1"]
    assert "a.1 was killed by SIGKILL; started again in 0.2 s" in output.getvalue()


def test_one_that_keeps_dying_is_started_ever_later(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", python("raise SystemExit(3)"), {})
    supervisor.start("a.1")
    until(supervisor, lambda: "again in 2 s" in output.getvalue(), "the third death")
    lines = [line.split("| ")[1] for line in output.getvalue().splitlines() if "started again" in line]
    assert lines == [f"a.1 ended with status 3; started again in {wait} s" for wait in ("0.2", "1", "2")]


def test_a_command_that_does_not_exist_is_said_and_tried_again(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", "/nowhere/to/be/found", {})
    supervisor.start("a.1")
    until(supervisor, lambda: "ended with status 127" in output.getvalue(), "the report")
    assert "cannot start: No such file or directory" in output.getvalue()


def test_a_stop_ends_them_and_nothing_is_restarted(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", python(ENDLESS), {})
    supervisor.start("a.1")
    until(supervisor, lambda: "here" in output.getvalue(), "it to run")
    pid = supervisor.pids()["a.1"]
    assert supervisor.stop(["a.1"], 5.0, lambda: False) == []
    assert ended(pid)
    assert supervisor.pids() == {}
    assert "started again" not in output.getvalue()


def test_one_that_does_not_listen_is_killed_after_its_time(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", python(DEAF), {})
    supervisor.start("a.1")
    until(supervisor, lambda: "deaf" in output.getvalue(), "it to run")
    pid = supervisor.pids()["a.1"]
    assert supervisor.stop(["a.1"], 0.3, lambda: False) == ["a.1"]
    assert ended(pid)


def test_hurry_kills_at_once(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", python(DEAF), {})
    supervisor.start("a.1")
    until(supervisor, lambda: "deaf" in output.getvalue(), "it to run")
    assert supervisor.stop(["a.1"], 3600.0, lambda: True) == ["a.1"]


def test_what_a_process_started_ends_with_it(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.add("a.1", python(PARENT), {})
    supervisor.start("a.1")
    until(supervisor, lambda: "a.1 | " in output.getvalue(), "the grandchild")
    grandchild = int(output.getvalue().split("a.1 | ")[1].split()[0])
    supervisor.stop(["a.1"], 5.0, lambda: False)
    assert ended(grandchild)


def test_a_reader_who_is_gone_does_not_stop_the_work(supervisor: Supervisor, output: io.StringIO) -> None:
    output.close()
    supervisor.say("to nobody")
    assert supervisor.speechless


def test_two_of_one_name_are_refused(supervisor: Supervisor) -> None:
    supervisor.add("a.1", "true", {})
    with pytest.raises(ValueError, match=r"two processes called a\.1"):
        supervisor.add("a.1", "true", {})


def test_processes_end_when_their_starter_was_killed() -> None:
    held = "import threading; from pipeline import tether; tether.hold(5.0); print('here', flush=True); " \
           "threading.Event().wait()"
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent("""
            import sys, time
            from honcho.printer import Printer
            from pipeline.supervisor import Supervisor
            supervisor = Supervisor(Printer(sys.stderr))
            for name in ("a.1", "b.1"):
                supervisor.add(name, sys.argv[1], {})
                supervisor.start(name)
            while len(supervisor.pids()) < 2:
                supervisor.turn(0.05)
            print(*supervisor.pids().values(), flush=True)
            while True:
                supervisor.turn(1.0)
        """), python(held)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    )
    assert starter.stdout is not None
    assert starter.stderr is not None
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    for _ in pids:
        assert "here" in starter.stderr.readline()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait_until(lambda: all(ended(pid) for pid in pids), "the processes to notice")
    starter.stdout.close()
    starter.stderr.close()


@pytest.mark.parametrize(
    ("text", "fault"),
    [("hydrat=2", "'hydrat' is no stage"), ("hydrate", "not STAGE=NUMBER"), ("hydrate=-1", "not STAGE=NUMBER"),
     ("hydrate=65", "0 to 64"), ("hydrate=two", "not STAGE=NUMBER")],
)
def test_a_scale_that_cannot_be_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_scale(text, ["hydrate", "calculate"])


def test_a_scale_names_numbers_of_processes() -> None:
    assert parse_scale("hydrate=4, calculate=0", ["hydrate", "calculate"]) == {"hydrate": 4, "calculate": 0}
    assert parse_scale("", ["hydrate"]) == {}
