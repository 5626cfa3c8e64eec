"""Small chains priced off a smile, free of noise: what the derived models of a symbol are tried on."""

import math
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from pipeline.models.expiry import NEW_YORK, expiry_ms, years_to
from pipeline.models.exposure import PaneExposure, expose
from pipeline.models.greeks import black76
from pipeline.models.pane import PaneGeometry, PaneValues, solve
from pipeline.models.symbol import SymbolModels, symbol_models

RATE = 0.037
AS_OF_MS = int(datetime(2026, 8, 20, 11, 0, tzinfo=NEW_YORK).timestamp() * 1000)
FRIDAY, MONDAY = date(2026, 8, 21), date(2026, 8, 24)


@dataclass(frozen=True, slots=True)
class SmilingPane:
    geometry: PaneGeometry
    values: PaneValues

    def exposure(self) -> PaneExposure:
        return expose(self.geometry, self.values, solve(self.geometry, self.values))


def smiling_pane(
    spot: float = 5000.0,
    expiration: date = FRIDAY,
    root: str = "SPXW",
    as_of_ms: int = AS_OF_MS,
    sigma: float = 0.15,
    skew: float = -0.5,
    reach: float = 0.04,
    step: float = 5.0,
    interest: Any = None,
    scale: int = 1,
    expires_ms: int | None = None,
    listed: Any = None,
) -> SmilingPane:
    """Strikes within ``reach`` of spot, quoted at Black prices to the thousandth of a dollar, one wide.

    sigma(K) = sigma * (1 + skew * ln(K/F) / v). ``interest`` float[2, S]; by default it falls off from spot, more puts
    below and more calls above. ``scale`` multiplies spot, strikes and quotes, exactly.
    """
    strikes = np.arange(math.ceil(spot * (1 - reach) / step), math.floor(spot * (1 + reach) / step) + 1) * step
    settlement = "AM" if root == "SPX" else "PM"
    expires = expiry_ms(expiration, settlement) if expires_ms is None else expires_ms
    years = max(years_to(expires, as_of_ms), 1e-9)
    discount = math.exp(-RATE * years)
    forward = spot / discount
    v_atm = sigma * math.sqrt(years)
    v = v_atm * np.exp(np.clip(skew * 0.1 * np.log(strikes / forward) / v_atm, -0.5, 0.5))
    price = np.stack([black76(sign, spot, forward, strikes, v, years, discount).price for sign in (1.0, -1.0)])
    mills = np.rint(price * 1000.0)
    shape = (2, strikes.size)
    if interest is None:
        distance = (strikes - spot) / (spot * 0.02)
        interest = np.rint(1000.0 * np.exp(-0.5 * np.stack([distance - 0.4, distance + 0.6]) ** 2))
    geometry = PaneGeometry(
        f"{expiration.isoformat()}:{root}", expiration, root, settlement, strikes * scale,
        np.ones(shape, dtype=bool) if listed is None else np.broadcast_to(listed, shape).astype(bool),
        np.full(shape, 100.0), np.array([step * scale]), expires_ms,
    )  # fmt: skip
    nothing = np.full(shape, np.nan)
    values = PaneValues(
        np.maximum(mills - 1.0, 0.0) * scale / 1000.0, (mills + 1.0) * scale / 1000.0, nothing, nothing,
        np.broadcast_to(np.asarray(interest, dtype=float), shape), np.full(shape, 3.0), spot * scale, as_of_ms, RATE,
    )  # fmt: skip
    return SmilingPane(geometry, values)


def models_of(panes: list[SmilingPane], spot: float | None = None, as_of_ms: int | None = None) -> SymbolModels:
    return symbol_models(
        [pane.exposure() for pane in panes],
        panes[0].values.spot if spot is None else spot,
        panes[0].values.as_of_ms if as_of_ms is None else as_of_ms,
    )


def with_values(pane: SmilingPane, **changes: Any) -> SmilingPane:
    return SmilingPane(pane.geometry, replace(pane.values, **changes))
