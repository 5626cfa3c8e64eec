"""One run of `up`: what is to run is planned first and checked, then run, then ended in the reverse order."""

import os
import shlex
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from honcho.environ import expand_processes, parse_procfile
from honcho.printer import Printer
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from pipeline.cli.board import status_lines, status_tables
from pipeline.cli.refused import Failed, Refused
from pipeline.database import ServerError, connect, server_fault, shown
from pipeline.endpoint import Endpoint
from pipeline.gateway.address import address_of, check_access
from pipeline.keys import Keys
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings, SettingsError, load_settings
from pipeline.shipped import shipped
from pipeline.status import Status, read_status
from pipeline.supervisor import Supervisor, parse_scale

PROVIDER = "provider"
_GATEWAY = "gateway"
_KEYED = ("chain", "socket", "spot")  # the stages that speak with the provider; no other process gets the key
_SIMULATED_KEY = "simulated"  # the simulator takes any key; the real one has no business there
_PROVIDER_S = 60.0
_TABLE_S = 1.0
_LINE_S = 5.0
_MARGIN_S = 3.0  # beyond the stages' own drain time, before they are killed


class Asked:
    """Counts the signals that ask for an end: the first for a clean one, the second for one at once."""

    def __init__(self) -> None:
        self.times = 0
        self._at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # `timeout` and some terminals signal the process and its group at once: that is one request, not two.
        if time.monotonic() - self._at > 0.3:
            self.times += 1
        self._at = time.monotonic()

    @property
    def to_end(self) -> bool:
        return self.times > 0

    @property
    def to_hurry(self) -> bool:
        return self.times > 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` was asked for, checked before anything starts."""

    settings: Settings
    live: bool
    scale: dict[str, int]
    simulate: tuple[str, ...]
    """The command line of the simulated provider, without host and port."""

    @classmethod
    def made(
        cls, live: bool, symbols: str | None, scope: str | None, scale: str, rate: float, chain: Path | None, seed: int,
        faults: tuple[str, ...], data_dir: Path | None,
    ) -> "Plan":
        """Raises Refused or SettingsError with one line."""
        given = {"symbols": symbols, "scope": scope, "data_dir": data_dir.absolute() if data_dir else None}
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        try:
            stages = list(parse_procfile(shipped("Procfile").read_text()).processes)
            counts = parse_scale(scale, stages)
        except ValueError as error:
            raise Refused(f"--scale: {error}") from None
        if counts.get(_GATEWAY, 1):
            check_access(settings)
        if live:
            if not settings.api_key.get_secret_value():
                raise SettingsError("MASSIVE_API_KEY: --live needs it; without --live the provider is simulated")
            if chain or faults:
                raise Refused("--chain and --fault are of the simulated provider; leave them or --live away")
            return cls(settings, True, counts, ())
        if chain and symbols is None:
            settings = settings.model_copy(update={"symbols": (_symbol_of(chain),)})
        _check_simulation(settings, rate, faults)
        command = ["--seed", str(seed), "--rate", f"{rate:g}", "--symbols", ",".join(settings.symbols)]
        command += ["--chain", str(chain.absolute())] if chain else []
        for fault in faults:
            command += ["--fault", fault]
        return cls(settings, False, counts, tuple(command))


def _symbol_of(chain: Path) -> str:
    from pipeline.cboe import CboeFileError, read_chain

    try:
        return read_chain(chain, None).symbol
    except (CboeFileError, OSError) as error:
        raise Refused(f"--chain: {error}") from None


def _check_simulation(settings: Settings, rate: float, faults: tuple[str, ...]) -> None:
    from pipeline.simulator import SimulatorSettings, parse_fault

    try:
        SimulatorSettings(symbols=settings.symbols, rate=rate, faults=tuple(parse_fault(fault) for fault in faults))
    except ValueError as error:
        raise Refused(str(error)) from None


class Session:
    """Runs a plan until asked to end."""

    def __init__(self, plan: Plan, asked: Asked) -> None:
        self._plan = plan
        self._asked = asked
        self._settings = plan.settings
        self._keys = Keys(plan.settings.layout, plan.settings.namespace)
        self._console = Console()
        self._supervisor = Supervisor(Printer(sys.stdout))
        self._server: EmbeddedServer | None = None
        self._url = plan.settings.redis_url.get_secret_value()
        self._rest, self._ws = plan.settings.rest_url, plan.settings.ws_url
        self._started = int(time.time() * 1000)
        self._names: list[str] = []
        self._dashboard = ""
        self._trouble = ""

    def run(self) -> list[str]:
        """Until asked to end. Answers what had to be killed."""
        try:
            self._start_server()
            self._add_processes()
            self._start_provider()
            self._start_stages()
            if not self._asked.to_end:
                self._watch()
        finally:
            killed = self._end()
        return killed

    # --- beginning ---
    def _start_server(self) -> None:
        if self._url:
            fault = server_fault(connect(self._url), self._url)
            if fault:
                raise ServerError(fault)
            self._supervisor.say(f"redis at {shown(self._url)}, not ours: it is left running at the end")
            return
        server = EmbeddedServer(self._settings.data_dir)
        server.start()
        self._server, self._url = server, server.url
        self._supervisor.say(f"redis at {shown(self._url)}, its files in {self._settings.data_dir}")

    def _add_processes(self) -> None:
        if not self._plan.live:
            port = _free_port()
            self._rest, self._ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
            command = shlex.join(["marketswarm", "simulate", "--port", str(port), *self._plan.simulate])
            self._supervisor.add(PROVIDER, command, self._environment(with_key=False))
        processes = parse_procfile(shipped("Procfile").read_text()).processes
        # PORT, where it is set, is only where counting starts: a worker's port is PORT + 100 x stage + number.
        taken: set[int] = set()
        for process in expand_processes(processes, self._plan.scale, port=self._settings.port or None):
            stage = process.name.partition(".")[0]
            environment = self._environment(with_key=stage in _KEYED) | process.env
            if stage == _GATEWAY:
                environment |= self._of_gateway(taken)
            self._supervisor.add(process.name, process.cmd, environment)
            self._names.append(process.name)

    def _of_gateway(self, taken: set[int]) -> dict[str, str]:
        """Where a gateway serves: the port of the settings, else a free one; the first one's is the dashboard. And the
        token, which no other process gets."""
        settings = self._settings
        port = settings.gateway_port
        if not port or port in taken or not _is_free(settings.host, port):
            port = _free_port()
        taken.add(port)
        if not self._dashboard:
            self._dashboard = address_of(settings, port)
        token = settings.gateway_token.get_secret_value()
        return {"MASSIVE_GATEWAY_PORT": str(port), **({"MASSIVE_GATEWAY_TOKEN": token} if token else {})}

    def _start_provider(self) -> None:
        """The stages would only complain and back off while it builds its market, so they wait for it."""
        if self._plan.live:
            return
        self._supervisor.start(PROVIDER)
        deadline = time.monotonic() + _PROVIDER_S
        while not self._asked.to_end and not _listens(self._rest):
            self._supervisor.turn(0.05)
            if self._supervisor.deaths(PROVIDER):
                raise Failed("the simulated provider ended before it answered; it said why above")
            if time.monotonic() > deadline:
                raise Failed(f"the simulated provider did not answer within {_PROVIDER_S:.0f} s")

    def _start_stages(self) -> None:
        for name in self._names:
            if not self._asked.to_end:
                self._supervisor.start(name)
                self._supervisor.turn(0.0)
        self._supervisor.on_change = self._tell
        self._tell()
        if self._dashboard and not self._asked.to_end:
            self._supervisor.say(f"dashboard at {self._dashboard}")

    def _environment(self, with_key: bool) -> dict[str, str]:
        settings = self._settings
        environment = {
            **os.environ,
            "REDIS_URL": self._url, "MASSIVE_DATA_DIR": str(settings.data_dir),
            "MASSIVE_SYMBOLS": ",".join(settings.symbols), "MASSIVE_SCOPE": settings.scope,
            "MASSIVE_REST_URL": self._rest, "MASSIVE_WS_URL": self._ws, "PYTHONUNBUFFERED": "1",
        }
        environment.pop("PORT", None)
        environment.pop("MASSIVE_API_KEY", None)
        environment.pop("MASSIVE_GATEWAY_TOKEN", None)
        if with_key:
            environment["MASSIVE_API_KEY"] = (
                settings.api_key.get_secret_value() if self._plan.live else _SIMULATED_KEY
            )
        return environment

    def _tell(self) -> None:
        """Say where everything is, for the other commands."""
        Endpoint(
            redis=self._url, provider=self._rest, simulated=not self._plan.live, symbols=self._settings.symbols,
            layout=self._settings.layout, namespace=self._settings.namespace, pid=os.getpid(), started=self._started,
            version=_version(), dashboard=self._dashboard,
            pids=self._supervisor.pids() | ({"redis": self._server.pid} if self._server else {}),
        ).write(self._settings.endpoint_file)

    # --- meanwhile ---
    def _watch(self) -> None:
        database = connect(self._url)
        with ExitStack() as stack:
            live = None
            if self._console.is_terminal:
                stack.callback(self._supervisor.write_to, sys.stdout)
                live = stack.enter_context(Live(console=self._console, auto_refresh=False, transient=True))
                self._supervisor.write_to(sys.stdout)  # rich's by now: lines go above the table
            every_s, due = (_TABLE_S, 0.0) if live else (_LINE_S, time.monotonic() + _LINE_S)
            while not self._asked.to_end and not self._supervisor.speechless:
                self._supervisor.turn(0.2)
                self._keep_server()
                if time.monotonic() < due:
                    continue
                due = time.monotonic() + every_s
                try:
                    status = read_status(database, self._keys, self._settings.symbols)
                except (RedisError, OSError) as error:
                    self._say_trouble(f"redis does not answer: {type(error).__name__}")
                    continue
                self._say_trouble("")
                self._show(status, live)

    def _say_trouble(self, trouble: str) -> None:
        """Once when it begins and once when it is over."""
        if trouble != self._trouble:
            self._supervisor.say(trouble or "redis answers again")
            self._trouble = trouble

    def _show(self, status: Status, live: Live | None) -> None:
        if live:
            live.update(status_tables(status), refresh=True)
            return
        for line in status_lines(status):
            self._supervisor.say(line)

    def _keep_server(self) -> None:
        if self._server is None or self._server.running():
            return
        self._supervisor.say("redis ended; started again on its files")
        try:
            self._server.start()
        except ServerError as error:
            self._say_trouble(str(error))
        else:
            self._tell()

    # --- ending ---
    def _end(self) -> list[str]:
        """Stages first, while they can still hand back what they hold; then the provider; the server last."""
        hurry = self._is_hurried
        self._supervisor.on_change = lambda: None
        if self._names:
            self._supervisor.say("ending; once more kills")
        killed = self._supervisor.stop(self._names, self._settings.drain_s + _MARGIN_S, hurry)
        if not self._plan.live and self._supervisor.has(PROVIDER):
            killed += self._supervisor.stop([PROVIDER], _MARGIN_S, hurry)
        self._supervisor.close()
        if self._server is not None:
            self._server.stop()
        if self._names:
            self._supervisor.say(f"ended; killed: {', '.join(killed)}" if killed else "ended")
        return killed

    def _is_hurried(self) -> bool:
        return self._asked.to_hurry


def _version() -> str:
    try:
        return version("marketswarm")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as who will listen: a past connection is no taker
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((parts.hostname, parts.port)) == 0
