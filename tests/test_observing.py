"""A real Prometheus over a scaled `up`, found by discovery: every target, panel and rule has its values, and alerts
fire when a stage is stopped and clear when it returns."""

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from honcho.environ import parse_procfile

from deploy import observe
from tests.cli.run import COMMAND, ROOT, environment
from tests.cli.test_up import Up
from tests.test_readme import README, rows
from tests.waiting import wait_until

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
SCALE = {"hydrate": 2, "calculate": 2, "models": 0, "vexy": 0}
"""`models` is a process of the test's own, which it stops and starts again."""
PATIENCE_S = 180.0
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def test_the_files_are_what_the_code_makes() -> None:
    for path, text in observe.documents():
        assert path.read_text() == text, f"{path.name}: run python deploy/observe.py"
    made = {path for path, _ in observe.documents()}
    assert set((ROOT / "deploy/grafana/dashboards").iterdir()) <= made, "a dashboard that nobody makes"


def test_every_alert_has_its_heading_in_the_runbook_and_no_other_has() -> None:
    headings = re.findall(r"^#### (\w+)$", README.split("\n### Alerts\n")[1].split("\n## ")[0], re.MULTILINE)
    assert headings == [alert.name for alert in observe.ALERTS]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: apt-get install prometheus")
def test_promtool_accepts_rules_and_configuration() -> None:
    for words in (["rules", "rules.yml"], ["config", "prometheus.yml"]):
        subprocess.run([PROMTOOL, "check", *words], cwd=ROOT / "deploy/prometheus", check=True, capture_output=True)


class Watched:
    """An `up`, a worker of the test's own, and the Prometheus that finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scale = ",".join(f"{stage}={number}" for stage, number in SCALE.items())
        self.up = Up(folder / "data", "--symbols", "SPX", "--rate", "300", "--scale", scale)
        self.models: subprocess.Popen[bytes] | None = None
        self.prometheus: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{_free_port()}"

    def start(self) -> None:
        wait_until(self.up.endpoint, "up", PATIENCE_S)
        self.start_models()
        found = wait_until(
            lambda: re.search(r"discovery=(http://\S+)", self.up.said), "where discovery is", PATIENCE_S, every=0.2
        )
        assert PROMETHEUS is not None
        with (self.folder / "prometheus.log").open("wb") as log:
            self.prometheus = subprocess.Popen(
                [PROMETHEUS, f"--config.file={self._configuration(found[1])}",
                 f"--storage.tsdb.path={self.folder}/tsdb",
                 f"--web.listen-address={self.url.removeprefix('http://')}"],
                stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
            )

    def _configuration(self, discovery: str) -> Path:
        """The shipped files with less patience, and this run's address."""
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["http_sd_configs"][0] = {"url": discovery, "refresh_interval": "1s"}
        shipped = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
        for group in shipped["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "2s"
        (self.folder / "rules.yml").write_text(yaml.safe_dump(shipped))
        path = self.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        return path

    def start_models(self) -> None:
        with (self.folder / "models.log").open("ab") as log:
            self.models = subprocess.Popen(
                [*COMMAND, "worker", "models"], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, env=environment(REDIS_URL=self.up.endpoint()["redis"], MASSIVE_SYMBOLS="SPX"),
            )

    def stop_models(self) -> None:
        assert self.models is not None
        self.models.send_signal(signal.SIGTERM)
        self.models.wait(30)

    def ask(self, path: str, **parameters: str) -> Any:
        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        except httpx.TransportError:
            return {}
        if answer.status_code == 503:  # it reads its log yet
            return {}
        assert answer.status_code == 200, f"{parameters}: {answer.text[:300]}"
        return answer.json()["data"]

    def has_values(self, query: str) -> bool:
        return bool(self.ask("query", query=query.replace("$__rate_interval", "20s"))["result"])

    def firing(self) -> set[tuple[str, str]]:
        return {
            (alert["labels"]["alertname"], alert["labels"].get("stage", ""))
            for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"
        }

    def end(self) -> None:
        for process in (self.prometheus, self.models):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(30)
        self.up.end()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if PROMETHEUS is None:
        pytest.skip("no prometheus here: apt-get install prometheus")
    made = Watched(tmp_path_factory.mktemp("observing"))
    try:
        made.start()
        wait_until(lambda: made.ask("targets").get("activeTargets"), "the first targets", PATIENCE_S, every=0.5)
        yield made
    finally:
        made.end()


def test_every_process_is_found_and_up(watched: Watched) -> None:
    roles = parse_procfile((ROOT / "Procfile").read_text()).processes
    wanted = {role: SCALE.get(role, 1) for role in roles} | {"models": 1}

    def found() -> dict[str, int]:
        targets = [target for target in watched.ask("targets")["activeTargets"] if target["health"] == "up"]
        roles = [target["labels"]["role"] for target in targets]
        return {role: roles.count(role) for role in wanted}

    wait_until(lambda: found() == wanted, f"{wanted}", PATIENCE_S, every=0.5)


def test_every_panel_and_every_rule_has_values(watched: Watched) -> None:
    queries = {f"{name} {panel.title}": query for name, (_, panels) in observe.DASHBOARDS.items()
               for panel in panels for query, _ in panel.queries}
    queries |= {name: name for name in observe.RECORDED}
    queries |= {alert.name: alert.watched for alert in observe.ALERTS}
    without: dict[str, str] = dict(queries)

    def all_answered() -> bool:
        for name, query in list(without.items()):
            if watched.has_values(query):
                del without[name]
        return not without

    try:
        wait_until(all_answered, "every query to have values", PATIENCE_S, every=1.0)
    except AssertionError:
        raise AssertionError(f"without values: {without}\n{watched.up.said[-3000:]}") from None


def test_the_readme_has_every_metric_and_no_other(watched: Watched) -> None:
    told = set(rows("Metrics"))

    def served() -> set[str]:
        names = watched.ask("label/__name__/values")
        return {SUFFIX.sub("", name) for name in names if name.startswith("marketswarm_")}

    wait_until(lambda: told <= served(), "every metric of the README", PATIENCE_S, every=1.0)
    assert served() == told


def test_alerts_fire_when_a_stage_is_stopped_and_clear_when_it_returns(watched: Watched) -> None:
    down = ("StageDown", "models")
    wait_until(lambda: down not in watched.firing(), "models to work", PATIENCE_S, every=0.5)
    watched.stop_models()
    wait_until(lambda: down in watched.firing(), "the alert", 60, every=0.5)
    watched.start_models()
    wait_until(lambda: down not in watched.firing(), "the alert to clear", PATIENCE_S, every=0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
