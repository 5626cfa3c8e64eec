"""What runs the pipeline elsewhere: each file read by its own tool, and every stage of the Procfile in each of them."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from honcho.environ import parse_procfile

from pipeline.database import connect, server_fault
from pipeline.keys import Keys
from pipeline.server import find_binaries
from pipeline.settings import Settings
from pipeline.shipped import shipped
from pipeline.status import STAGE_STREAMS
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STAGES: dict[str, str] = parse_procfile(shipped("Procfile").read_text()).processes
KEYED = {"chain", "socket", "spot"}
"""The stages that speak with the provider; no other process gets its key."""
EXPORTER = "9108"


def tool(name: str) -> str:
    """A tool beside this Python or on PATH. Skips the test where there is none for this machine."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def run(*words: str | Path, **variables: str) -> str:
    """What a tool says; it must be content."""
    answer = subprocess.run(
        words, capture_output=True, text=True, timeout=120, env={**os.environ, **variables}, cwd=ROOT, check=False
    )
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"
    return answer.stdout + answer.stderr


def arguments(stage: str) -> list[str]:
    """What a stage's process is called with: as the Procfile says, but for the one port that others must know."""
    words = shlex.split(STAGES[stage])[1:]
    return [*words, "--port", EXPORTER] if stage == "exporter" else words


# --- systemd ---
class _Unit(configparser.RawConfigParser):
    """Sections of a unit file; a name that comes again is another value of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters="=", comment_prefixes=("#",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read(path)


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with this very installation in place of /opt/marketswarm, which is not here."""
    folder = tmp_path_factory.mktemp("systemd")
    shutil.copytree(DEPLOY / "systemd", folder, dirs_exist_ok=True)
    for path in folder.glob("*.service"):
        path.write_text(path.read_text().replace("/opt/marketswarm/bin/", f"{Path(sys.executable).parent}/"))
    return folder


def test_every_stage_has_a_unit_that_runs_it_and_the_target_wants_one_of_each() -> None:
    assert {path.name for path in (DEPLOY / "systemd").glob("*.service")} == {
        f"marketswarm-{stage}@.service" for stage in STAGES
    }
    target = (DEPLOY / "systemd" / "marketswarm.target").read_text()
    wanted = re.findall(r"^Wants=(.*)$", target, re.MULTILINE)
    assert sorted(wanted) == sorted(f"marketswarm-{stage}@1.service" for stage in STAGES)
    for stage in STAGES:
        unit = _Unit(DEPLOY / "systemd" / f"marketswarm-{stage}@.service")
        assert shlex.split(unit["Service"]["ExecStart"]) == ["/opt/marketswarm/bin/marketswarm", *arguments(stage)]
        assert (unit["Unit"]["PartOf"], unit["Install"]["WantedBy"]) == ("marketswarm.target",) * 2
        told = unit["Service"].get("EnvironmentFile", "")
        assert ("provider.env" in told) == (stage in KEYED), "the provider's key is for those who need it"


def test_systemd_reads_the_units_and_finds_nothing_wrong(units: Path) -> None:
    names = [f"marketswarm-{stage}@1.service" for stage in STAGES]
    said = run(
        tool("systemd-analyze"), "verify", "--man=no", *(units / name for name in names), units / "marketswarm.target",
        SYSTEMD_UNIT_PATH=f"{units}:",
    )
    assert said == "", "a name that systemd does not know is only a warning"


@pytest.mark.parametrize("stage", STAGES)
def test_a_unit_is_shut_in(units: Path, stage: str) -> None:
    run(
        tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager",
        units / f"marketswarm-{stage}@1.service", SYSTEMD_UNIT_PATH=f"{units}:",
    )


def test_a_worker_has_time_to_drain() -> None:
    service = _Unit(DEPLOY / "systemd" / "marketswarm-.service.d" / "worker.conf")["Service"]
    drain_s = Settings.model_fields["drain_s"].default
    assert int(service["TimeoutStopSec"]) > drain_s + 5
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    worker = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "worker.yaml").read_text())
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain_s + 5
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert int(compose["x-worker"]["stop_grace_period"].removesuffix("s")) > drain_s + 5


# --- containers ---
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert run(tool("hadolint"), "--failure-threshold", "style", DEPLOY / "Dockerfile") == ""


def test_the_image_is_built_of_what_the_wheel_is_built_of_and_runs_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    let_in = set(re.findall(r"^!(.*)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    built = (ROOT / "pyproject.toml").read_text()
    wheel = built.partition("[tool.hatch.build.targets.wheel]")[2].partition("[tool.ruff]")[0]
    needed = set(re.findall(r'^"?([\w/.]+)"? = "pipeline/', wheel, re.MULTILINE)) | {"pipeline", "consumers"}
    assert {name.split("/")[0] for name in needed} <= copied
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)


@cache
def composed(*names: str) -> dict[str, Any]:
    """What compose makes of its files."""
    files = [word for name in names for word in ("-f", str(DEPLOY / name))]
    said = run(
        tool("docker-compose"), *files, "config", MASSIVE_GATEWAY_TOKEN="a secret", MASSIVE_API_KEY="a key"  # noqa: S106
    )
    found: dict[str, Any] = yaml.safe_load(said)
    return found


def test_compose_runs_every_stage_shut_in_and_restarted() -> None:
    services = composed("compose.yaml")["services"]
    assert set(services) == {*STAGES, "redis", "prometheus", "grafana"}
    for stage in STAGES:
        service = services[stage]
        assert service["command"] == arguments(stage)
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["redis"]["condition"] == "service_healthy"
        assert ("MASSIVE_API_KEY" in service["environment"]) == (stage in KEYED)
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
    assert services["exporter"]["environment"]["PORT"] == EXPORTER, "the image's own health check asks there"
    assert list(services["redis"]["networks"]) == ["inside"]


def test_what_compose_mounts_exists() -> None:
    for name, service in composed("compose.yaml")["services"].items():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), f"{name}: {volume['source']}"


def test_compose_without_a_token_for_the_gateway_says_so() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASSIVE_")}
    answer = subprocess.run(
        [tool("docker-compose"), "-f", DEPLOY / "compose.yaml", "config"], env=environment, capture_output=True,
        text=True, timeout=60, check=False,
    )
    assert answer.returncode != 0
    assert "MASSIVE_GATEWAY_TOKEN is missing a value" in answer.stderr


def test_the_simulated_provider_takes_the_real_ones_place() -> None:
    services = composed("compose.yaml", "compose.simulated.yaml")["services"]
    assert set(services) == {*STAGES, "redis", "prometheus", "grafana", "provider"}
    for stage in KEYED:
        told = services[stage]["environment"]
        assert told["MASSIVE_API_KEY"] == "simulated"
        assert told["MASSIVE_REST_URL"] == "http://provider:8600"
        assert set(services[stage]["depends_on"]) == {"provider", "redis"}
    options = services["provider"]["command"]
    assert options[:5] == ["simulate", "--host", "0.0.0.0", "--port", "8600"]  # noqa: S104


@pytest.mark.parametrize("binary", find_binaries(), ids=lambda binary: binary.kind)
def test_the_redis_that_is_shipped_is_one_the_pipeline_takes(binary: Any, tmp_path: Path) -> None:
    """The very file that compose and Kubernetes mount, on a real server."""
    address = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [binary.path, DEPLOY / "redis" / "redis.conf", "--port", "0", "--unixsocket", address, "--dir", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        wait_until(lambda: address.exists() or server.poll() is not None, "the server", 20)
        assert server.poll() is None, server.stdout and server.stdout.read()
        url = f"unix://{address}"
        database = connect(url)
        wait_until(lambda: server_fault(database, url) == "", "a server that is fit for use")
        found = {name: database.config_get(name)[name] for name in ("appendonly", "appendfsync", "save")}
        assert found == {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
        database.connection_pool.disconnect()
    finally:
        server.terminate()
        server.wait(20)


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    services = composed("compose.yaml")["services"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/marketswarm.yaml").read_text())["providers"]
    targets = {volume["target"] for volume in services["grafana"]["volumes"]}
    assert {provider["options"]["path"], "/etc/grafana/provisioning"} <= targets


# --- Kubernetes ---
@cache
def kustomized(name: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, read by kustomize itself."""
    return list(yaml.safe_load_all(run(tool("kubectl"), "kustomize", DEPLOY / "kubernetes" / name)))


def of_kind(kind: str, name: str = "base") -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in kustomized(name) if one["kind"] == kind}


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_kubernetes_takes_every_manifest(version: str) -> None:
    for manifest in kustomized("base"):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_stage_has_a_deployment_with_probes_and_a_disruption_budget() -> None:
    deployments, budgets = of_kind("Deployment"), of_kind("PodDisruptionBudget")
    assert set(deployments) == set(budgets) == set(STAGES)
    for stage, deployment in deployments.items():
        spec = deployment["spec"]["template"]["spec"]
        (worker,) = spec["containers"]
        assert worker["args"] == arguments(stage)
        port = worker["ports"][0]["containerPort"]
        assert (port == int(EXPORTER)) == (stage == "exporter")
        assert worker["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": worker["ports"][0]["name"]}
        assert worker["livenessProbe"]["httpGet"]["path"] == worker["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert set(worker["resources"]) == {"requests", "limits"}
        secrets = {one["secretRef"]["name"] for one in worker["envFrom"] if "secretRef" in one}
        assert ("marketswarm-provider" in secrets) == (stage in KEYED)
        assert ("marketswarm-gateway" in secrets) == (stage == "gateway")
        labels = deployment["spec"]["selector"]["matchLabels"]
        assert labels == budgets[stage]["spec"]["selector"]["matchLabels"]
        assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_every_pod_is_admitted_where_the_restricted_standard_is_enforced() -> None:
    (namespace,) = of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in [*of_kind("Deployment").values(), *of_kind("StatefulSet").values()]:
        spec = workload["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_services_and_the_redis_find_their_pods() -> None:
    pods = [
        workload["spec"]["template"]
        for workload in [*of_kind("Deployment").values(), *of_kind("StatefulSet").values()]
    ]
    for name, service in of_kind("Service").items():
        chosen = [
            pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, name
        ports = {port["name"] for container in chosen[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    mounted = next(value for name, value in of_kind("ConfigMap").items() if name.startswith("redis-"))
    assert mounted["data"]["redis.conf"] == (DEPLOY / "redis" / "redis.conf").read_text()


def test_keda_scales_stages_by_the_lag_of_the_streams_they_read() -> None:
    deployments = of_kind("Deployment", "keda")
    assert set(deployments) == set(STAGES)
    scaled = of_kind("ScaledObject", "keda")
    assert set(scaled) == {stage for stage, deployment in deployments.items() if "replicas" not in deployment["spec"]}
    assert set(scaled) == {"hydrate", "calculate", "models"}
    for stage, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["name"] == stage
        (trigger,) = one["spec"]["triggers"]
        assert trigger["type"] == "redis-streams"
        assert trigger["metadata"]["consumerGroup"] == stage
        streams = {Keys("flat").stream(noun, "SPX") for noun in STAGE_STREAMS[stage]}
        assert trigger["metadata"]["stream"] in streams
        assert int(trigger["metadata"]["lagCount"]) > 0
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
