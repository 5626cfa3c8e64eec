"""Errors for people: one line on stderr and a status. 2: what was asked for cannot be; 1: it could, and failed."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from redis.exceptions import RedisError

from pipeline.database import ServerError
from pipeline.endpoint import AlreadyRunning
from pipeline.settings import SettingsError


class Refused(click.ClickException):
    """What was asked for cannot be. Said on stderr as it stands."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        click.echo(f"marketswarm: {self.message}", err=True)


class Failed(Refused):
    """It could have been, and failed."""

    exit_code = 1


@contextmanager
def one_line() -> Iterator[None]:
    try:
        yield
    except (SettingsError, ServerError, AlreadyRunning) as error:
        raise Refused(str(error)) from None
    except RedisError as error:
        raise Failed(f"redis: {type(error).__name__}: {error}") from None
