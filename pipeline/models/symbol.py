"""All models of one underlying, from what its panes hand over: one pure function of panes, spot and event time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.exposure import BOOKS, OI, SUMS, PaneExposure, moves
from pipeline.models.gex import exposure
from pipeline.models.gravity import Gravity, dealer_gravity
from pipeline.models.intent import Intent, liquidity_intent
from pipeline.models.levels import Flip, Walls, find_flip, find_walls, sum_by_strike
from pipeline.models.mode import Mode, market_mode, weighed_ratio
from pipeline.models.quotes import Floats, Integers

MAX_SPOT_USD = 1e6
"""A spot beyond this is a broken claim; the bound keeps every sum of dollars inside an int64."""


@dataclass(frozen=True, slots=True)
class Profile:
    """G over spots: ``prices`` float64[61] dollars, ``net`` and ``gross`` int64[61] $ per 1 % move, of one book."""

    prices: Floats
    net: Integers
    gross: Integers


@dataclass(frozen=True, slots=True)
class Levels:
    """``max_pain`` and ``expected_move`` are the front pane's, in dollars; ``coverage`` is the share of the open
    interest within one expected move of spot that has a volatility. None where unknown."""

    flip: Flip
    walls: Walls
    max_pain: float | None
    expected_move: float | None
    front: str | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class SymbolModels:
    """Everything derived of one underlying.

    ``strikes`` float64[U] and ``by_side`` int64[2, U]: GEX of the open interest by strike over all panes. ``books``:
    call, put, net, gross and ratio by name of BOOKS; ``vanna`` and ``charm``: call, put and net, $ of delta per
    volatility point and per day.
    """

    spot: float
    as_of_ms: int
    constants: int
    strikes: Floats
    by_side: Integers
    books: Mapping[str, Mapping[str, int | float | None]]
    vanna: Mapping[str, int | float | None]
    charm: Mapping[str, int | float | None]
    profiles: Mapping[str, Profile]
    levels: Levels
    mode: Mode
    intent: Intent
    gravity: Gravity


def symbol_models(
    panes: Iterable[PaneExposure],
    spot: float,
    as_of_ms: int,
    stale: bool = False,
    constants: Constants = CONSTANTS,
) -> SymbolModels:
    """Levels, mode, intent, gravity, profiles and books of an underlying at ``spot`` (dollars) and event time.

    Panes are put in the order of their expiry instant, then root, whatever order they come in; those that have expired
    by ``as_of_ms`` (settled but still listed) count nowhere. A pane's profile is taken at the move from its own spot,
    so that panes computed a tick apart still add up. ``stale`` takes the value from the flip. Never raises on values.
    """
    live = sorted((pane for pane in panes if pane.expires_ms > as_of_ms), key=lambda pane: (pane.expires_ms, pane.root))
    axis = moves(constants)
    known_spot = 0.0 < spot < MAX_SPOT_USD
    front = front_pane(live, as_of_ms, constants) if known_spot else None
    move = None if front is None else float(spot * front.v_atm)
    coverage = None if move is None else interest_coverage(live, spot, move)
    profiles = _profiles(live, axis, spot)
    held = profiles[BOOKS[OI]]
    flip = find_flip(held.prices, held.net, held.gross, spot if known_spot else 0.0, move, coverage, stale, constants)
    strikes, by_side = sum_by_strike([(pane.strikes, pane.gex[OI]) for pane in live])
    sums = np.stack([pane.sums for pane in live], axis=2) if live else np.empty((len(SUMS), 2, 0), dtype=np.int64)
    totals = {name: exposure(by_pane) for name, by_pane in zip(SUMS, sums, strict=True)}
    ratio = None if move is None else weighed_ratio(axis, held.net, held.gross, move / spot, constants)
    unsound = flip.reason if flip.reason in {"low_coverage", "flat"} else None
    max_pain = None if front is None or np.isnan(front.max_pain) else front.max_pain
    return SymbolModels(
        spot=spot,
        as_of_ms=as_of_ms,
        constants=constants.version,
        strikes=strikes,
        by_side=by_side,
        books={name: totals[name] for name in BOOKS},
        vanna=_signed(totals["vanna"]),
        charm=_signed(totals["charm"]),
        profiles=profiles,
        levels=Levels(
            flip, find_walls(strikes, by_side, spot), max_pain, move, None if front is None else front.pane, coverage
        ),
        mode=market_mode(flip, ratio, spot, move, constants),
        intent=liquidity_intent(live, spot, move, ratio, unsound, constants),
        gravity=dealer_gravity(front, axis, held.net, held.gross, spot, move, unsound, constants),
    )


def front_pane(panes: Sequence[PaneExposure], as_of_ms: int, constants: Constants = CONSTANTS) -> PaneExposure | None:
    """The nearest afternoon-settled pane with more than ``front_least_ms`` left and a volatility at the money."""
    for pane in panes:
        if pane.settlement == "PM" and pane.expires_ms - as_of_ms > constants.front_least_ms and pane.v_atm > 0.0:
            return pane
    return None


def interest_coverage(panes: Sequence[PaneExposure], spot: float, move: float) -> float | None:
    """Share of the open interest at strikes within ``move`` of spot that has a volatility; None without any."""
    if not panes:
        return None
    near = np.abs(np.concatenate([pane.strikes for pane in panes]) - spot) <= move
    shares = np.concatenate([pane.shares for pane in panes], axis=1).sum(axis=0)[near]
    known = np.isfinite(np.concatenate([pane.v for pane in panes])[near])
    whole = float(shares.sum())
    return float(shares[known].sum()) / whole if whole > 0.0 else None


def _signed(totals: Mapping[str, int | float | None]) -> Mapping[str, int | float | None]:
    """Without gross and ratio: unlike gamma, vanna and charm change their sign within a side."""
    return {name: totals[name] for name in ("call", "put", "net")}


def _profiles(panes: Sequence[PaneExposure], axis: Floats, spot: float) -> dict[str, Profile]:
    """By name of BOOKS, over all panes."""
    by_side = np.zeros((len(BOOKS), 2, axis.size), dtype=np.int64)
    if panes:
        by_side = np.stack([pane.profile for pane in panes]).sum(axis=0)
    prices = spot * (1.0 + axis)
    return {
        name: Profile(prices, calls + puts, calls - puts) for name, (calls, puts) in zip(BOOKS, by_side, strict=True)
    }
