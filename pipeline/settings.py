"""Every setting: type, unit, default, consequence. Read once from the environment, checked before anything starts."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Butterfly and vertical widths in strike points. `*` serves every symbol that has no row of its own.
DEFAULT_WIDTHS: Mapping[str, tuple[float, ...]] = {
    "SPX": (20, 25, 30, 35, 40, 45, 50),
    "NDX": (50, 60, 70, 80, 100, 120, 130),
    "*": (1, 2, 3, 5, 10, 15, 20),
}


TOKEN_LEAST = 16


def _own_folder() -> Path:
    try:
        return Path(platformdirs.user_data_dir("marketswarm"))
    except RuntimeError:  # a user without a home, as services have
        return Path("/var/lib/marketswarm")


class SettingsError(ValueError):
    """A setting that cannot be used. One line that names the variable, the value's fault and what is allowed."""


class Settings(BaseSettings):
    """The environment, checked. Variables are ``MASSIVE_<NAME>`` but for ``REDIS_URL`` and ``PORT``."""

    model_config = SettingsConfigDict(env_prefix="MASSIVE_", frozen=True, populate_by_name=True, env_ignore_empty=True)

    # --- where things are ---
    redis_url: SecretStr = Field(SecretStr(""), validation_alias="REDIS_URL")
    """redis://, rediss:// or unix:// address. Empty: `up` starts the embedded server. May hold a password."""
    data_dir: Path = Field(default_factory=_own_folder)
    """Where the embedded server keeps its files and `up` says how to reach it."""
    host: str = "127.0.0.1"
    """Address the HTTP endpoints bind to. Anything but loopback exposes them."""
    port: int = Field(0, validation_alias="PORT", ge=0, le=65535)
    """Port of /metrics, /healthz and /readyz of a worker. 0: any free one (it is named in massive:workers)."""
    layout: Literal["flat", "tagged"] = "flat"
    """Key layout. `tagged` puts {SYMBOL}: in front, so that one underlying shares a Redis Cluster slot."""
    namespace: str = ""
    """Put in front of every key, so that a replay cannot touch what is live."""

    # --- the gateway ---
    gateway_port: int = Field(8400, ge=0, le=65535)
    """Port of the dashboard, its events and documents. `up` takes a free one where this one is taken; 0: any."""

    gateway_token: SecretStr = SecretStr("")
    """What clients of the gateway must show. Needed where MASSIVE_HOST is beyond loopback; without it, it is open."""
    gateway_tls_cert: Path | None = None
    """PEM file of the gateway's certificate and chain: it then speaks HTTPS. Empty: HTTP."""
    gateway_tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    gateway_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Other sites whose pages may read from the gateway, `https://desk.example`. Empty: none."""
    gateway_clients_per_address: int = Field(64, ge=1, le=100_000)
    """Streams that one address may have open; one more is refused with 429."""

    # --- the provider ---
    api_key: SecretStr = SecretStr("")
    rest_url: str = "https://api.massive.com"
    ws_url: str = "wss://socket.massive.com"
    """Host of the sockets; /options and /indices are appended."""
    rest_timeout_s: float = Field(10.0, gt=0, le=120)
    """Longest wait for one page. A page that takes longer fails its chain, which is fetched again."""
    rest_concurrency: int = Field(4, ge=1, le=32)
    """Chains a worker fetches at the same time. Pages of one chain follow each other (the cursor says so)."""
    rest_requests_per_s: float = Field(50.0, gt=0, le=100)
    """Upper bound on requests; the provider asks for fewer than 100 a second."""
    chain_interval_s: float = Field(30.0, ge=1, le=3600)
    """Pause between a finished fetch of a chain and the next. Open interest and greeks are at most this old."""
    spot_poll_s: float = Field(5.0, ge=0.5, le=600)
    """How often REST is asked for the spot while the indices socket is silent."""
    quote_limit: int = Field(1000, ge=1, le=100_000)
    """Contracts whose quotes one connection may subscribe (the provider's limit is 1,000)."""
    healthy_after_s: float = Field(10.0, gt=0, le=600)
    """Seconds of data after which a connection counts as healthy and the reconnect backoff starts anew."""
    silent_after_s: float = Field(30.0, gt=0, le=3600)
    """A socket with subscriptions and no frame for so long is dropped and opened again."""

    # --- what becomes geometry ---
    symbols: Annotated[tuple[str, ...], NoDecode] = ("SPX", "NDX")
    scope: Literal["near", "full"] = "near"
    """`near` keeps scope_days and scope_strikes of a chain; `full` takes all of it."""
    scope_days: int = Field(45, ge=0, le=3650)
    """Calendar days ahead (New York) whose expirations become panes."""
    scope_strikes: float = Field(0.12, gt=0, lt=1)
    """Half-width of the strike window as a part of spot; it re-centres when spot has moved a quarter of it."""
    widths: Annotated[Mapping[str, tuple[float, ...]], NoDecode] = DEFAULT_WIDTHS
    """Strategy widths by symbol, `SPX=20,25;NDX=50,60;*=1,5`. A change takes effect with the next epoch."""
    rate: float = Field(0.037, ge=-0.05, le=0.5)
    """Continuously compounded interest rate per year, for forwards and discounting."""

    # --- the consumer groups ---
    batch_max: int = Field(256, ge=1, le=4096)
    """Most entries one read takes. Larger batches coalesce more and hold Redis longer for one script."""
    block_ms: int = Field(500, ge=10, le=2000)
    """How long a read waits for the first entry. Above 2 s redis-py's own timeout gets in the way."""
    attempts_max: int = Field(5, ge=1, le=100)
    """How often an entry is tried alone before it moves to massive:dead."""
    drain_s: float = Field(10.0, gt=0, le=300)
    """How long a worker may take to finish what it has read after SIGTERM; the rest is handed back."""
    greeks_interval_s: float = Field(0.25, ge=0, le=0.5)
    """How long greeks of a pane, and what rests on them, wait for more ticks: tiles never do."""
    lag_limit: int = Field(10_000, ge=1)
    """Entries a stage may be behind before /readyz turns red."""

    trace: float = Field(0.0, ge=0, le=1)
    """Part of the ticks whose way is told as OpenTelemetry spans. 0: none, and nothing of it is loaded."""

    # --- the keeper ---
    keeper_interval_s: float = Field(1.0, gt=0, le=60)
    dormant_after_s: float = Field(5.0, gt=0, le=3600)
    """A feed that had been speaking and is silent for so long makes its epoch dormant: fresh chain, new epoch."""
    snapshot_interval_s: float = Field(60.0, gt=0, le=86_400)
    """How often the keeper stores the hydrated state and audits that incremental equals full."""
    retention_s: float = Field(300.0, gt=0, le=7 * 86_400)
    """How long stream entries stay after every group is done with them: the window a replay can reach back."""
    model_retention_s: float = Field(60.0, gt=0, le=86_400)
    """How long published diffs stay: a browser that was away for longer gets a full model instead."""
    consumer_idle_s: float = Field(600.0, gt=0)
    """A consumer that owns nothing and was not seen for so long is removed from its group."""

    @field_validator("symbols", mode="before")
    @classmethod
    def _split_symbols(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip().upper() for part in value.split(",") if part.strip())
        return value

    @field_validator("symbols")
    @classmethod
    def _check_symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one symbol")
        for symbol in value:
            if not (symbol.isalnum() and symbol.isascii() and len(symbol) <= 10):
                raise ValueError(f"{symbol!r} is not a symbol (letters and digits, at most 10)")
        return tuple(dict.fromkeys(value))

    @field_validator("widths", mode="before")
    @classmethod
    def _parse_widths(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parsed: dict[str, tuple[float, ...]] = dict(DEFAULT_WIDTHS)
        for row in filter(None, (part.strip() for part in value.split(";"))):
            symbol, equals, numbers = row.partition("=")
            try:
                widths = tuple(float(number) for number in numbers.split(","))
            except ValueError as error:
                raise ValueError(f"{row!r} is not SYMBOL=WIDTH,WIDTH,...") from error
            if not equals or not symbol or len(widths) > 16 or any(not 0 < width < 10_000 for width in widths):
                raise ValueError(f"{row!r} is not SYMBOL=WIDTH,... with 1 to 16 widths between 0 and 10,000")
            parsed[symbol.strip().upper()] = tuple(sorted(set(widths)))
        return parsed

    @field_validator("gateway_token")
    @classmethod
    def _check_token(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < TOKEN_LEAST:
            raise ValueError(f"a token has at least {TOKEN_LEAST} characters; `openssl rand -hex 32` makes one")
        return value

    @field_validator("gateway_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("gateway_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            spelled = f"{parts.scheme}://{parts.netloc}"
            if parts.scheme not in {"http", "https"} or not parts.hostname or spelled != origin:
                raise ValueError(f"{origin!r} is not an origin such as https://desk.example")
        return value

    @field_validator("rest_url", "ws_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https", "ws", "wss"} or not parts.hostname:
            raise ValueError("not an http(s) or ws(s) address")
        if parts.username or parts.password or parts.query:
            raise ValueError("an address with credentials or a query; the key goes in MASSIVE_API_KEY")
        return value.rstrip("/")

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        if value and not value.endswith(":"):
            raise ValueError("a namespace ends with a colon")
        if any(character in value for character in "{} \n"):
            raise ValueError("a namespace has no braces or blanks")
        return value

    def widths_of(self, symbol: str) -> tuple[float, ...]:
        return tuple(self.widths.get(symbol) or self.widths.get("*") or DEFAULT_WIDTHS["*"])

    @cached_property
    def endpoint_file(self) -> Path:
        """Where a running `up` says how to reach it."""
        return self.data_dir / "running.json"


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and the given overrides. Raises SettingsError: one line for the first fault."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=True)[0]
        name = str(fault["loc"][0]) if fault["loc"] else "settings"
        variable = name if name.isupper() else f"MASSIVE_{name.upper()}"
        secret = any(word in name.lower() for word in ("key", "redis", "token"))
        shown = "" if secret else f" (got {_short(fault['input'])})"
        raise SettingsError(f"{variable}: {fault['msg'].removeprefix('Value error, ')}{shown}") from None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(text if len(text) <= 60 else text[:57] + "...")
