"""Market Mode: whether dealers' hedging damps or amplifies moves at this spot, 0 to 100, and its label.

The score is a function of the profile alone. It describes the positions that the sign model assumes, at this moment.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.levels import Flip
from pipeline.models.quotes import Floats, Integers

LABELS = ("compression", "transition", "expansion")
_NODES = 81
"""Points of the weighted mean of net over gross."""


@dataclass(frozen=True, slots=True)
class Mode:
    """``score`` 0 (dealers long gamma: moves damped) to 100 (short: moves amplified), None with a ``reason``.

    ``distance`` is z, the distance to the flip in expected moves, positive where dealers are long gamma, within
    +-z_limit; ``ratio`` is the weighed net over gross, -1 to 1; ``label`` the raw score's, without hysteresis.
    """

    score: float | None
    reason: str | None
    distance: float | None
    ratio: float | None
    label: str | None


def weighed_ratio(
    axis: Floats, net: Integers, gross: Integers, move: float, constants: Constants = CONSTANTS
) -> float | None:
    """The integral of w G over that of w gross, w = exp(-(x - S)^2 / 2 EM^2), over S +- ratio_moves * EM.

    ``axis`` float64[61] spot / S - 1, ``move`` EM / S. The profile is linear between its points and goes on flat beyond
    its ends. None where there is no gamma.
    """
    steps = np.linspace(-constants.ratio_moves, constants.ratio_moves, _NODES)
    weight = np.exp(-0.5 * steps * steps)
    weight[[0, -1]] *= 0.5  # trapezoid rule
    at = steps * move
    whole = float((weight * np.interp(at, axis, gross)).sum())
    return float((weight * np.interp(at, axis, net)).sum()) / whole if whole > 0.0 else None


def market_mode(
    flip: Flip, ratio: float | None, spot: float, expected_move: float | None, constants: Constants = CONSTANTS
) -> Mode:
    """M = 50 (1 - (tanh z + tanh(ratio / ratio_scale)) / 2).

    |z| is the distance from spot to the nearest root in expected moves, at most z_limit, and z_limit without a root;
    its sign is that of G at spot. Where G rises through its root, as it does unless the roots are several, that is
    (S - flip) / EM; taking the sign from G keeps the score continuous where another root becomes the nearest.
    """
    if expected_move is None or ratio is None or flip.reason in {"low_coverage", "flat"}:
        return Mode(None, flip.reason or "flat", None, ratio, None)
    far = constants.z_limit
    away = far if flip.nearest is None else min(abs(spot - flip.nearest) / expected_move, far)
    z = flip.sign * away
    score = 50.0 * (1.0 - 0.5 * (math.tanh(z) + math.tanh(ratio / constants.ratio_scale)))
    return Mode(score, None, z, ratio, label_of(score, constants))


def label_of(score: float, constants: Constants = CONSTANTS) -> str:
    """The label of a score by itself."""
    if score < constants.compression_below:
        return LABELS[0]
    return LABELS[1] if score < constants.expansion_from else LABELS[2]


@dataclass(frozen=True, slots=True)
class LabelState:
    """``label`` as it is shown; ``since_ms``: event time since which the score has been outside of its range."""

    label: str
    since_ms: int | None = None


def next_label(
    state: LabelState | None, score: float | None, ts: int, constants: Constants = CONSTANTS
) -> LabelState | None:
    """Fold a score at event time ``ts`` (ms) into the label.

    A label is left once the score has been ``hysteresis`` points outside of its range for ``dwell_ms`` without a
    break, and becomes that of the score then. A missing score changes nothing, nor does an event older than what is
    known.
    """
    if score is None:
        return state
    if state is None:
        return LabelState(label_of(score, constants))
    low, high = _bounds(state.label, constants)
    if low - constants.hysteresis <= score < high + constants.hysteresis:
        return LabelState(state.label)
    since = ts if state.since_ms is None else state.since_ms
    if ts - since >= constants.dwell_ms:
        return LabelState(label_of(score, constants))
    return LabelState(state.label, since)


def _bounds(label: str, constants: Constants) -> tuple[float, float]:
    bounds = (-math.inf, constants.compression_below, constants.expansion_from, math.inf)
    at = LABELS.index(label)
    return bounds[at], bounds[at + 1]
