"""The machine, the versions and the server that figures belong to: without them they say nothing."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from walrus import Database

from pipeline.settings import Settings

_DISTRIBUTIONS = ("redis", "hiredis", "numpy", "scipy", "orjson", "msgpack", "walrus")
_OWN = {"redis_url", "data_dir", "api_key", "port"}
"""Settings that say where things are, or are nobody's business: they do not make a figure."""


def environment(database: Database, settings: Settings) -> dict[str, object]:
    """JSON-able. Take it before measuring: the load average is then what else the machine does."""
    server = database.info("server")
    config = database.config_get("append*")
    kind = "valkey" if "valkey_version" in server else "redis"
    changed = settings.model_dump(mode="json", exclude=_OWN, exclude_defaults=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "marketswarm": _version("marketswarm"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _DISTRIBUTIONS if (found := _version(name))},
        "server": {
            "kind": kind, "version": server[f"{kind}_version"], "aof": config.get("appendonly") == "yes",
            "appendfsync": config.get("appendfsync"), "threads": int(server.get("io_threads_active", 0)),
        },
        "settings": changed,
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
