"""Which pipeline a command is about: the one in --data-dir, else the one at REDIS_URL, else the default directory's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from walrus import Database

from pipeline.cli.refused import Failed
from pipeline.database import connect
from pipeline.endpoint import Endpoint, read_endpoint
from pipeline.keys import Keys
from pipeline.settings import Settings, load_settings

Command = TypeVar("Command", bound=Callable[..., Any])


def data_dir_option(command: Command) -> Command:
    """`--data-dir`, the same for every command."""
    return click.option(
        "--data-dir", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Where `up` keeps its files and is found [default: MASSIVE_DATA_DIR, else per user].",
    )(command)


@dataclass(frozen=True, slots=True)
class Reached:
    """A running pipeline, or at least its Redis."""

    settings: Settings
    database: Database
    keys: Keys
    url: str
    symbols: tuple[str, ...]
    endpoint: Endpoint | None


def settings_in(data_dir: Path | None) -> Settings:
    return load_settings(**({"data_dir": data_dir.absolute()} if data_dir else {}))


def reach(data_dir: Path | None) -> Reached:
    """Find it and connect; nothing is sent yet. Raises Failed where there is nothing to connect to."""
    settings = settings_in(data_dir)
    given = settings.redis_url.get_secret_value()
    if given and data_dir is None:
        keys = Keys(settings.layout, settings.namespace)
        return Reached(settings, connect(given), keys, given, settings.symbols, None)
    endpoint = read_endpoint(settings.endpoint_file)
    if endpoint is None:
        raise Failed(f"nothing runs in {settings.data_dir}: start `marketswarm up`, or set --data-dir or REDIS_URL")
    keys = Keys("tagged" if endpoint.layout == "tagged" else "flat", endpoint.namespace)
    return Reached(settings, connect(endpoint.redis), keys, endpoint.redis, endpoint.symbols, endpoint)
