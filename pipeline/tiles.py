"""What was computed of a pane, as it is stored between calculate and models: one string of tiles, one hash of the rest.

The string holds int32 thousandths of a dollar, the cells of strategies.Grids: a commit patches what changed in it. The
hash holds packed arrays:

| field | holds |
|---|---|
| ``gex:{side}``, ``gex_volume:{side}``, ``vanna:{side}``, ``charm:{side}`` | int64 dollars [S] |
| ``v``, ``shares`` | float64 [S], [2, S]: total volatility; open interest times multiplier |
| ``profile``, ``sums`` | int64 [2, 2, 61], [4, 2]: what the pane adds to the models of its underlying |
| ``point`` | float64: spot, forward, discount, volatility at the money, max pain |
| ``clock`` | int64: expiry and event time, ms; charm flow, dollars |
| ``head`` | JSON of the pane's scalars |

Beside them the scripts keep ``seq`` and ``greeks``, the commits at which the tiles and the fields above were computed,
``version`` and ``claims``; where several consumers take turns at the pane, ``shared`` and what its last claims took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.models.exposure import BOOKS, OI, SUMS, VOLUME, PaneExposure, expose_row
from pipeline.models.pane import PaneGeometry, PaneModel, PaneValues, calculate, quotes_of, solve_row
from pipeline.models.row import rows_of
from pipeline.models.strategies import SIDES, Grids, grids

_MERGE_CELLS = 160
"""Changed tiles no further apart are one patch: a command costs the server more than some hundred spare bytes."""
_MILLS = np.dtype("<i4")
_WHOLE = np.dtype("<i8")
_REAL = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class Tiles:
    """All that is computed of one pane: what it shows, and what it hands to the models of its underlying."""

    model: PaneModel
    exposure: PaneExposure


@dataclass(frozen=True, slots=True)
class Claimed:
    """A pane to compute, with what is known of it; see models.pane.calculate for ``previous`` and ``dirty``."""

    geometry: PaneGeometry
    values: PaneValues
    previous: PaneModel | None = None
    dirty: NDArray[np.bool_] | None = None


def compute(panes: Sequence[Claimed]) -> list[Tiles]:
    """Tiles, greeks and exposures of panes; a pane's are the same bits whatever panes are computed with it."""
    found: list[Tiles] = []
    for some in _rows(panes):
        geometries, values = [pane.geometry for pane in some], [pane.values for pane in some]
        quotes, volatilities = solve_row(geometries, values)
        exposures = expose_row(geometries, values, volatilities)
        for pane, of, volatility, exposure in zip(some, quotes, volatilities, exposures, strict=True):
            gex = exposure.gex[OI].copy()  # a model that is kept must not keep the whole row's
            model = calculate(pane.geometry, pane.values, pane.previous, pane.dirty, volatility, of, gex)
            found.append(Tiles(model, exposure))
    return found


def retile(panes: Sequence[Claimed]) -> list[PaneModel]:
    """The tiles of panes as their quotes are now, under the greeks and the head that ``previous`` has."""
    found: list[PaneModel] = []
    for some in _rows(panes):
        quotes = quotes_of([pane.geometry for pane in some], [pane.values for pane in some])
        for pane, of in zip(some, quotes, strict=True):
            if pane.previous is None:
                raise ValueError(f"{pane.geometry.pane}: no tiles to start from")
            found.append(replace(pane.previous, grids=grids(of, pane.geometry.legs, pane.previous.grids, pane.dirty)))
    return found


def _rows(panes: Sequence[Claimed]) -> list[Sequence[Claimed]]:
    return [panes[some] for some in rows_of([pane.geometry.strikes.size for pane in panes])]


def pack_grids(model: PaneModel) -> bytes:
    """Every tile of a pane, as its string holds them."""
    return model.grids.cells.astype(_MILLS, copy=False).tobytes()


def grid_patches(before: bytes, after: bytes, rewritten: NDArray[np.intp] | None = None) -> list[str | bytes]:
    """What turns one string of tiles into another of the same size: offset, bytes, offset, bytes, ...

    Cells that are ``rewritten`` are in it whether they differ or not. An offset is text, because a number costs Lua
    half a microsecond to write.
    """
    cells = np.flatnonzero(np.frombuffer(before, dtype=_MILLS) != np.frombuffer(after, dtype=_MILLS))
    if rewritten is not None:
        cells = np.union1d(cells, rewritten)
    if not cells.size:
        return []
    size = _MILLS.itemsize
    gaps = np.flatnonzero(np.diff(cells) > _MERGE_CELLS)
    firsts = cells[np.concatenate(([0], gaps + 1))] * size
    ends = (cells[np.concatenate((gaps, [cells.size - 1]))] + 1) * size
    patches: list[str | bytes] = []
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        patches += (str(first), after[first:end])
    return patches


def pack_tiles(tiles: Tiles) -> dict[str, bytes]:
    """The fields of a pane's hash, in a fixed order."""
    model, held = tiles.model, tiles.exposure
    fields = {}
    for name, array in (("gex", model.gex), ("gex_volume", held.gex[VOLUME]), ("vanna", held.vanna),
                        ("charm", held.charm)):
        for row, side in enumerate(SIDES):
            fields[f"{name}:{side}"] = array[row].astype(_WHOLE, copy=False).tobytes()
    for name, reals in (("v", held.v), ("shares", held.shares)):
        fields[name] = reals.astype(_REAL, copy=False).tobytes()
    for name, wholes in (("profile", held.profile), ("sums", held.sums)):
        fields[name] = wholes.astype(_WHOLE, copy=False).tobytes()
    point = (held.spot, held.forward, held.discount, held.v_atm, held.max_pain)
    fields["point"] = np.array(point, dtype=_REAL).tobytes()
    fields["clock"] = np.array((held.expires_ms, held.as_of_ms, held.charm_flow), dtype=_WHOLE).tobytes()
    fields["head"] = orjson.dumps(model.head)
    return fields


EXPOSURE_FIELDS = (
    *(f"{name}:{side}" for name in ("gex", "gex_volume", "vanna", "charm") for side in SIDES),
    "v", "shares", "profile", "sums", "point", "clock",
)


def unpack_exposure(fields: Mapping[str, bytes], geometry: PaneGeometry) -> PaneExposure:
    """The exposure of stored tiles. Raises KeyError or ValueError where the fields are not of this pane."""

    def sides(name: str) -> NDArray[np.int64]:
        return np.stack([np.frombuffer(fields[f"{name}:{side}"], dtype=_WHOLE) for side in SIDES])

    def reals(name: str) -> NDArray[np.float64]:
        return np.frombuffer(fields[name], dtype=_REAL)

    spot, forward, discount, v_atm, max_pain = reals("point").tolist()
    expires_ms, as_of_ms, charm_flow = np.frombuffer(fields["clock"], dtype=_WHOLE).tolist()
    by_book = {OI: sides("gex"), VOLUME: sides("gex_volume")}
    return PaneExposure(
        pane=geometry.pane, expiration=geometry.expiration, root=geometry.root, settlement=geometry.settlement,
        expires_ms=expires_ms, as_of_ms=as_of_ms, spot=spot, forward=forward, discount=discount, v_atm=v_atm,
        strikes=geometry.strikes, v=reals("v"), shares=reals("shares").reshape(2, -1),
        gex=np.stack([by_book[book] for book in range(len(BOOKS))]),
        vanna=sides("vanna"), charm=sides("charm"),
        sums=np.frombuffer(fields["sums"], dtype=_WHOLE).reshape(len(SUMS), 2), charm_flow=charm_flow,
        profile=np.frombuffer(fields["profile"], dtype=_WHOLE).reshape(len(BOOKS), 2, -1), max_pain=max_pain,
    )


def unpack_grids(packed: bytes, geometry: PaneGeometry) -> Grids:
    """The inverse of pack_grids. Raises ValueError where it is not of this pane."""
    cells = np.frombuffer(packed, dtype=_MILLS)
    if cells.size != geometry.legs.cells.size:
        raise ValueError(f"{geometry.pane}: {cells.size} tiles where there are {geometry.legs.cells.size}")
    return Grids(cells, geometry.strikes.size, geometry.widths.size)
