"""Small panes for tests, and hypothesis strategies that make hostile ones."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

from pipeline.models.pane import PaneGeometry, PaneValues

AS_OF_MS = int(datetime(2026, 8, 20, 11, 0, tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)


def geometry(
    strikes: list[float],
    widths: tuple[float, ...] = (5.0, 10.0),
    expiration: date = date(2026, 8, 28),
    root: str = "SPXW",
    listed: Any = None,
) -> PaneGeometry:
    size = len(strikes)
    return PaneGeometry(
        pane=f"{expiration.isoformat()}:{root}",
        expiration=expiration,
        root=root,
        settlement="AM" if root == "SPX" else "PM",
        strikes=np.array(strikes, dtype=float),
        listed=np.ones((2, size), dtype=bool) if listed is None else np.array(listed, dtype=bool),
        multiplier=np.full((2, size), 100.0),
        widths=np.array(widths),
    )


def values(
    bid: Any, ask: Any, spot: float = 100.0, as_of_ms: int = AS_OF_MS, open_interest: Any = None, iv: Any = None
) -> PaneValues:
    bid, ask = np.array(bid, dtype=float), np.array(ask, dtype=float)
    missing = np.full(bid.shape, np.nan)
    return PaneValues(
        bid=bid,
        ask=ask,
        iv=missing if iv is None else np.array(iv, dtype=float),
        gamma=missing,
        open_interest=np.full(bid.shape, 10.0) if open_interest is None else np.array(open_interest, dtype=float),
        volume=missing,
        spot=spot,
        as_of_ms=as_of_ms,
        rate=0.037,
    )


ORDINARY = st.integers(0, 40_000).map(lambda cents: cents / 100)
HOSTILE = st.sampled_from([np.nan, 0.0, -0.05, 0.0004, 0.0005, 1e6, 1e300, np.inf, -np.inf])
PRICES = st.one_of(ORDINARY, ORDINARY, ORDINARY, HOSTILE)


@st.composite
def geometries(draw: Any) -> PaneGeometry:
    steps = draw(st.lists(st.sampled_from([2.5, 5.0, 10.0, 25.0]), min_size=0, max_size=6))
    strikes = np.cumsum([draw(st.sampled_from([60.0, 80.0, 95.0])), *steps]).tolist()
    size = len(strikes)
    listed = draw(st.lists(st.booleans(), min_size=2 * size, max_size=2 * size))
    everything = draw(st.booleans())
    return geometry(strikes, listed=None if everything else np.reshape(listed, (2, size)))


@st.composite
def claims(draw: Any, size: int) -> PaneValues:
    def column(elements: Any) -> Any:
        return np.reshape(draw(st.lists(elements, min_size=2 * size, max_size=2 * size)), (2, size)).astype(float)

    bid = column(PRICES)
    with np.errstate(all="ignore"):
        ask = np.where(column(st.booleans()) > 0, bid + 0.1, column(PRICES))
    return PaneValues(
        bid=bid,
        ask=ask,
        iv=column(st.sampled_from([np.nan, 0.0, 0.2, 3.0, 1e300, np.inf, -1.0])),
        gamma=column(st.sampled_from([np.nan, 0.0, 0.001])),
        open_interest=column(st.sampled_from([np.nan, 0.0, 12.0, 30_000.0, 1e300, np.inf])),
        volume=column(st.sampled_from([np.nan, 0.0, 7.0])),
        spot=draw(st.sampled_from([100.0, 97.31, np.nan, 0.0, -5.0, 1e-300, 1e300, np.inf])),
        as_of_ms=draw(st.sampled_from([AS_OF_MS, AS_OF_MS + 86_400_000 * 8, AS_OF_MS + 86_400_000 * 400, 0])),
        rate=draw(st.sampled_from([0.037, 0.0, -0.01, 5.0])),
    )
