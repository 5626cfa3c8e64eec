"""Where a gateway is found; nothing here needs what serves it."""

import socket

from pipeline.settings import Settings

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound to


def address_of(settings: Settings, port: int) -> str:
    """As others type it: a host that is every interface is this machine's name."""
    host = socket.gethostname() if settings.host in _EVERYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
