"""The constants of the derived models, in one value with a version: two results compare only under the same one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constants:
    """What a number of a derived model depends on besides its inputs. A change of any makes another ``version``.

    The defaults are version 1. Shares are parts of one, moves are in expected moves (EM), times are event time.
    """

    version: int = 1

    # --- the profile G(x) ---
    profile_half_width: float = 0.06
    """Farthest spot of the profile, as a part of spot, on both sides."""
    profile_steps: int = 30
    """Steps on each side: 61 points."""

    # --- levels ---
    front_least_ms: int = 3_600_000
    """The front pane, whose expected move is EM, has more than this left to trade."""
    least_coverage: float = 0.95
    """Least share of the open interest within one EM that must have a volatility."""
    flat_share: float = 0.005
    """A profile whose net never exceeds this share of its greatest gross is flat: the sign of it says nothing."""
    unstable_share: float = 0.005
    """A root is unstable when a net that is off by this share of the greatest gross moves it by ``unstable_moves``."""
    unstable_moves: float = 0.5

    # --- Market Mode ---
    z_limit: float = 3.0
    ratio_scale: float = 0.10
    """Net over gross at which tanh is 0.76: also the scale of LFI."""
    ratio_moves: float = 2.0
    """Half-width of the window in which net over gross is weighed."""
    compression_below: float = 33.5
    expansion_from: float = 66.5
    hysteresis: float = 4.0
    """A label is left once the score is this far outside of its range ..."""
    dwell_ms: int = 60_000
    """... and has been for so long."""

    # --- Liquidity Intent ---
    intent_moves: float = 0.5
    charm_ms: int = 3_600_000
    supported_from: float = 50.0

    # --- Dealer Gravity ---
    tilt: float = 2.0
    """q is proportional to p * exp(tilt * G / greatest gross)."""
    density_moves: float = 5.0
    """Half-width of the density's grid, in total volatilities of the front pane."""
    density_steps: int = 40
    low_quantile: float = 0.10
    high_quantile: float = 0.90
    divergence_scale: float = 0.05
    well_prominence: float = 0.10
    """Least prominence of a well or a ridge, as a share of the greatest gross."""


CONSTANTS = Constants()
