"""What a simulated session is: everything that decides what the provider will say."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.simulator.fault import Fault


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of one session. The same seed, clock and market settings give the same session again.

    ``symbols`` empty means SPX and NDX, or with a chain file that file's symbol alone; symbols beside the file's get
    a synthetic chain. ``chain_spot`` (dollars) says where spot was for a file that does not. ``spot_path`` is a CSV of
    one-minute bars (date, time_et, open, high, low, close). ``clock`` (aware) is where session time starts; without it,
    the chain file's own quote time or a recent trading morning. ``clock_speed`` is session seconds per wall second;
    0 stops the clock, and then the market moves only by ``Simulator.advance``. ``rate`` is option events per wall
    second over all contracts; 0 is a still market. ``session`` is a recorded session: its chains, frames and spot are
    the market, at the time they came, and the rest is not asked for. ``keys`` None accepts any key that is not empty.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    rate: float = 1_000.0
    symbols: tuple[str, ...] = ()
    chain: Path | None = None
    session: Path | None = None
    chain_spot: float | None = None
    spot_path: Path | None = None
    clock: datetime | None = None
    clock_speed: float = 1.0
    faults: tuple[Fault, ...] = ()
    keys: frozenset[str] | None = None
    # The provider's limit on quote subscriptions of one connection.
    quote_limit: int = 1_000
    # How long a socket may stay unauthenticated.
    auth_timeout_s: float = 10.0
    # A consumer this far behind is cut off; until then its data only comes late.
    send_buffer_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.clock is not None and self.clock.tzinfo is None:
            raise ValueError(f"clock {self.clock.isoformat()} has no time zone")
        if self.session is not None and (self.chain or self.spot_path or self.clock or self.symbols):
            raise ValueError("a recorded session says its chains, spot, time and symbol itself")
        if not 0 <= self.rate <= 200_000:
            raise ValueError(f"rate {self.rate} is not between 0 and 200000 events a second")
        if not 0 <= self.clock_speed <= 10_000:
            raise ValueError(f"clock speed {self.clock_speed} is not between 0 and 10000")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port {self.port} is not between 0 and 65535")
