"""`marketswarm worker STAGE`: one process of one stage, which is what every line of the Procfile runs."""

import importlib
import pkgutil
import random
import signal
import threading
from types import FrameType, ModuleType

import click
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from pipeline.cli.refused import Refused

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@click.command()
@click.argument("stage")
@click.option("--port", type=click.IntRange(0, 65535), help="Of /metrics and /readyz [default: PORT, else any].")
def worker(stage: str, port: int | None) -> None:
    """Run one process of STAGE until SIGTERM. Any number may run, on any number of machines."""
    from pipeline import tether
    from pipeline.database import connect_checked
    from pipeline.life import Life
    from pipeline.logs import configure_logs
    from pipeline.settings import load_settings

    module = _stage(stage)
    configure_logs()
    settings = load_settings(**({} if port is None else {"port": port}))
    tether.hold(settings.drain_s + 5)
    stopped = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    url = settings.redis_url.get_secret_value()
    if url and not _await_server(url, stage, stopped):
        return
    database = connect_checked(settings)
    try:
        with Life(stage, settings, database) as life:
            if stopped.is_set():
                life.stop.set()
            module.run(settings, database, life)
    except OSError as error:
        if "cannot listen on" not in str(error):
            raise
        raise Refused(str(error.strerror)) from None


def stage_names() -> list[str]:
    import consumers

    return sorted(module.name for module in pkgutil.iter_modules(consumers.__path__) if not module.name.startswith("_"))


def _stage(name: str) -> ModuleType:
    names = stage_names()
    if name in names:
        module = importlib.import_module(f"consumers.{name}")
        if hasattr(module, "run"):
            return module
    raise Refused(f"there is no stage {name!r}; there are {', '.join(names)}")


def _await_server(url: str, stage: str, stopped: threading.Event) -> bool:
    """Until the server answers: a worker that starts before its server waits for it. False: told to stop meanwhile."""
    from pipeline.database import connect, shown
    from pipeline.logs import Outage, get_log

    database = connect(url)
    outage = Outage(get_log(stage=stage), f"the way to {shown(url)}")
    tries = 0
    try:
        while not stopped.is_set():
            try:
                database.ping()
            except AuthenticationError:
                raise Refused(f"REDIS_URL: {shown(url)} refuses the password, or wants one") from None
            except (BusyLoadingError, RedisError, OSError) as error:
                if isinstance(error, ResponseError) and not isinstance(error, BusyLoadingError):
                    return True  # it answers; whether it is fit for use is checked next
                outage.broke(type(error).__name__)
            else:
                outage.healed()
                return True
            stopped.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)] * random.uniform(0.75, 1.25))
            tries += 1
        return False
    finally:
        database.connection_pool.disconnect()
