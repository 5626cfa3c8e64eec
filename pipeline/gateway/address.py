"""Where a gateway is found, and whether it may be there; nothing here needs what serves it."""

import ipaddress
import socket

from pipeline.settings import Settings, SettingsError

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound to


def address_of(settings: Settings, port: int) -> str:
    """As others type it: a host that is every interface is this machine's name."""
    host = socket.gethostname() if settings.host in _EVERYWHERE else settings.host
    scheme = "https" if settings.gateway_tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_access(settings: Settings) -> None:
    """Raises SettingsError where the gateway would be open to others, or its certificate cannot be used."""
    if not is_loopback(settings.host) and not settings.gateway_token.get_secret_value():
        raise SettingsError(
            f"MASSIVE_GATEWAY_TOKEN: needed where MASSIVE_HOST is beyond loopback ({settings.host}); "
            "`openssl rand -hex 32` makes one"
        )
    files = {"MASSIVE_GATEWAY_TLS_CERT": settings.gateway_tls_cert, "MASSIVE_GATEWAY_TLS_KEY": settings.gateway_tls_key}
    for name, path in files.items():
        if path is None and any(files.values()):
            raise SettingsError(f"{name}: needed with the other one of certificate and key")
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise SettingsError(f"{name}: there is no file {path}")
