"""Panes of the recorded chains in ``<repository>/../shared/data``; tests skip, saying so, where they are absent."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pipeline.cboe import read_chain
from pipeline.contract import settlement_of
from pipeline.models.pane import PaneGeometry, PaneValues, expiry_ms

CHAINS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SPX_2026 = "cboe_spx_2026-08-20_close.csv.gz"
SPX_2022 = "cboe_spx_2022-03-23_1011_intraday.csv.gz"
NDX_2022 = "cboe_ndx_2022-12-12_2031.csv.gz"
RATE = 0.037
SPX_WIDTHS = np.array([20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0])

# File, spot where the file has none, and the New York instant at which its quotes were taken.
AS_OF = {
    SPX_2026: (7641.1602, datetime(2026, 8, 20, 16, 14)),
    SPX_2022: (None, datetime(2022, 3, 23, 9, 56)),
    NDX_2022: (None, datetime(2022, 12, 12, 16, 14)),
}


@dataclass(frozen=True, slots=True)
class RealPane:
    geometry: PaneGeometry
    values: PaneValues


@cache
def load(name: str) -> list[RealPane]:
    """Every pane of a chain, ordered by expiry instant."""
    path = CHAINS / name
    if not path.exists():
        pytest.skip(f"the recorded chain {name} is not on this machine")
    spot, taken = AS_OF[name]
    chain = read_chain(path, spot=spot)
    as_of_ms = int(taken.replace(tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)
    panes = []
    for expiration in np.unique(chain.expiration):
        for root in np.unique(chain.root[chain.expiration == expiration]):
            rows = (chain.expiration == expiration) & (chain.root == root)
            panes.append(_pane(chain, rows, str(root), expiration.astype(object), as_of_ms))
    return sorted(panes, key=lambda p: (expiry_ms(p.geometry.expiration, p.geometry.settlement), p.geometry.root))


def _pane(chain: Any, rows: Any, root: str, expiration: Any, as_of_ms: int) -> RealPane:
    strikes = np.unique(chain.strike[rows])
    side = (chain.side[rows] == "put").astype(int)
    at = np.searchsorted(strikes, chain.strike[rows])
    listed = np.zeros((2, strikes.size), dtype=bool)
    listed[side, at] = True

    def column(name: str) -> Any:
        values = np.full((2, strikes.size), np.nan)
        values[side, at] = getattr(chain, name)[rows]
        return values

    geometry = PaneGeometry(
        pane=f"{expiration.isoformat()}:{root}",
        expiration=expiration,
        root=root,
        settlement=settlement_of(root),
        strikes=strikes,
        listed=listed,
        multiplier=np.full((2, strikes.size), 100.0),
        widths=SPX_WIDTHS,
    )
    values = PaneValues(
        bid=column("bid"),
        ask=column("ask"),
        iv=column("iv"),
        gamma=column("gamma"),
        open_interest=column("open_interest"),
        volume=column("volume"),
        spot=float(chain.spot),
        as_of_ms=as_of_ms,
        rate=RATE,
    )
    return RealPane(geometry, values)
