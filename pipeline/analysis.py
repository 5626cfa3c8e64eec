"""Every model of one chain file, for analysts and for checking the pipeline: the same functions, without Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import early_closes, previous_session
from pipeline.chain_file import ChainFile
from pipeline.contract import settlement_of
from pipeline.models.expiry import NEW_YORK, days_to_expiration, expiry_ms, new_york_date
from pipeline.models.exposure import BOOKS, OI, PaneExposure
from pipeline.models.gex import buckets, exposure
from pipeline.models.levels import pin_probability
from pipeline.models.pane import PaneGeometry, PaneModel, PaneValues
from pipeline.models.records import (
    Record,
    books_record,
    gravity_record,
    intent_record,
    levels_record,
    mode_record,
    plain,
    price,
    profiles_record,
)
from pipeline.models.symbol import SymbolModels, symbol_models
from pipeline.tiles import Claimed, compute

SHARES_PER_CONTRACT = 100.0


class NoExpirationError(ValueError):
    """The chain has no expiration within the days asked for."""


@dataclass(frozen=True, slots=True)
class AnalysedPane:
    """One expiration: its exposures, and ``head`` as the published heatmap has it.

    ``pin`` is the strike with the greatest pin probability at the widest width, with that width and probability; None
    without a priced butterfly near spot.
    """

    geometry: PaneGeometry
    exposure: PaneExposure
    head: Mapping[str, Any]
    pin: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """``panes`` in the order of their expiry; ``settled`` counts those that had expired and count nowhere."""

    symbol: str
    as_of_ms: int
    spot: float
    rate: float
    contracts: int
    bad_rows: int
    settled: int
    coverage: float | None
    oi_date: date
    panes: tuple[AnalysedPane, ...]
    models: SymbolModels

    def record(self) -> Record:
        """JSON-able, keys in a fixed order."""
        models, held = self.models, self.models.books["oi"]
        return {
            "symbol": self.symbol,
            "spot": price(self.spot),
            "as_of": datetime.fromtimestamp(self.as_of_ms / 1000, UTC).astimezone(NEW_YORK).isoformat(),
            "rate": self.rate,
            "contracts": self.contracts,
            "bad_rows": self.bad_rows,
            "settled_panes": self.settled,
            "coverage": plain(self.coverage),
            "gex": {
                "net_usd_1pct": held["net"],
                "gross_usd_1pct": held["gross"],
                "ratio": held["ratio"],
                "sign_model": "naive",
                "books": books_record(models, self.oi_date.isoformat()),
                "buckets": self._buckets(),
                "vanna_usd_per_point": dict(models.vanna),
                "charm_usd_per_day": dict(models.charm),
                "profile": profiles_record(models.profiles),
            },
            "levels": levels_record(models.levels),
            "market_mode": mode_record(models.mode, models.constants),
            "liquidity_intent": intent_record(models.intent, models.constants),
            "dealer_gravity": gravity_record(models.gravity, models.constants),
            "panes": {pane.geometry.pane: _pane_record(pane) for pane in self.panes},
        }

    def _buckets(self) -> Mapping[str, object]:
        days = [days_to_expiration(pane.geometry.expiration, self.as_of_ms) for pane in self.panes]
        return buckets(np.array(days), np.stack([pane.exposure.sums[OI] for pane in self.panes], axis=1))


def analyse(chain: ChainFile, rate: float, widths: Sequence[float], max_dte: int | None = None) -> Analysis:
    """Every model of ``chain``. ``rate`` is continuously compounded per year; ``widths`` in strike points.

    ``max_dte`` keeps expirations up to so many calendar days ahead. Raises NoExpirationError when none is left.
    """
    days = np.unique(chain.expiration)
    if max_dte is not None:
        last = np.datetime64(new_york_date(chain.as_of_ms), "D") + max_dte
        days = days[days <= last]
    if days.size == 0:
        raise NoExpirationError(f"no expiration within {max_dte} days of {new_york_date(chain.as_of_ms).isoformat()}")
    closes = early_closes(days[0].astype(object), days[-1].astype(object))
    claimed: list[Claimed] = []
    for day in days:
        of_day = chain.expiration == day
        for root in np.unique(chain.root[of_day]).tolist():
            expires = expiry_ms(day.astype(object), settlement_of(root), closes)
            rows = np.flatnonzero(of_day & (chain.root == root))
            claimed.append(Claimed(*_pane(chain, rows, root, day.astype(object), expires, widths, rate)))
    panes = [
        AnalysedPane(of.geometry, tiles.exposure, tiles.model.head, _pin(tiles.model, of.geometry, tiles.exposure))
        for of, tiles in zip(claimed, compute(claimed), strict=True)
    ]
    panes.sort(key=lambda pane: (pane.exposure.expires_ms, pane.geometry.root))
    live = [pane for pane in panes if pane.exposure.expires_ms > chain.as_of_ms]
    return Analysis(
        symbol=chain.symbol,
        as_of_ms=chain.as_of_ms,
        spot=chain.spot,
        rate=rate,
        contracts=sum(int(np.count_nonzero(pane.geometry.listed)) for pane in panes),
        bad_rows=chain.bad_rows,
        settled=len(panes) - len(live),
        coverage=_coverage(live),
        oi_date=previous_session(new_york_date(chain.as_of_ms)),
        panes=tuple(live),
        models=symbol_models([pane.exposure for pane in live], chain.spot, chain.as_of_ms),
    )


def _pane(
    chain: ChainFile, rows: NDArray[np.intp], root: str, expiration: date, expires_ms: int,
    widths: Sequence[float], rate: float,
) -> tuple[PaneGeometry, PaneValues]:
    strikes = np.unique(chain.strike[rows])
    side, at = chain.is_put[rows].astype(np.intp), np.searchsorted(strikes, chain.strike[rows])
    shape = (2, strikes.size)
    listed = np.zeros(shape, dtype=np.bool_)
    listed[side, at] = True

    def placed(column: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.full(shape, np.nan)
        values[side, at] = column[rows]
        return values

    geometry = PaneGeometry(
        f"{expiration.isoformat()}:{root}", expiration, root, settlement_of(root), strikes, listed,
        np.full(shape, SHARES_PER_CONTRACT), np.array(sorted(widths), dtype=np.float64), expires_ms,
    )
    return geometry, PaneValues(
        placed(chain.bid), placed(chain.ask), placed(chain.iv), placed(chain.gamma), placed(chain.open_interest),
        placed(chain.volume), chain.spot, chain.as_of_ms, rate,
    )


def _pin(model: PaneModel, geometry: PaneGeometry, held: PaneExposure) -> tuple[float, float, float] | None:
    near = np.abs(geometry.strikes - held.spot) <= held.spot * held.v_atm
    if geometry.widths.size == 0 or not near.any():
        return None
    sides = [
        pin_probability(model.grids[f"butterfly:{side}"][0], geometry.widths, held.discount)[near, -1]
        for side in ("call", "put")
    ]
    # Both sides price the same butterfly; where both are quoted their mean has half the noise.
    both = np.mean(sides, axis=0)
    either = np.where(np.isfinite(both), both, np.where(np.isfinite(sides[0]), sides[0], sides[1]))
    if not np.isfinite(either).any():
        return None
    at = int(np.nanargmax(either))
    return float(geometry.strikes[near][at]), float(geometry.widths[-1]), float(either[at])


def _coverage(panes: Sequence[AnalysedPane]) -> float | None:
    """Part of the listed contracts that have a usable quote."""
    listed = sum(int(np.count_nonzero(pane.geometry.listed)) for pane in panes)
    missing = sum(sum(pane.head["missing_quotes"].values()) for pane in panes)
    return (listed - missing) / listed if listed else None


def _pane_record(pane: AnalysedPane) -> Record:
    head, held = pane.head, pane.exposure
    book = dict(zip(BOOKS, (exposure(gex) for gex in held.gex), strict=True))
    return {
        **{name: head[name] for name in ("dte", "settlement", "contracts", "coverage", "gex_coverage", "forward")},
        "expected_move": price(head["expected_move"]),
        "atm_iv": head["atm_iv"],
        "max_pain": None if np.isnan(held.max_pain) else price(held.max_pain),
        "pin": None if pane.pin is None else dict(
            zip(("strike", "width", "probability"), (price(pane.pin[0]), price(pane.pin[1]), plain(pane.pin[2])),
                strict=True)
        ),
        "net_usd_1pct": book["oi"]["net"],
        "gross_usd_1pct": book["oi"]["gross"],
        "volume_net_usd_1pct": book["volume"]["net"],
        "iv_sources": head["iv_sources"],
        "violation_counts": head["violation_counts"],
    }
