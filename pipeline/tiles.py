"""What was computed of a pane, as it is stored between calculate and models: packed arrays in one hash.

``{strategy}:{side}`` int32 thousandths of a dollar [3, S] or [3, S, W]; ``gex:{side}`` int64 dollars per 1 % [S];
``head`` JSON. Beside them the scripts keep ``seq``, ``version`` and ``claims``.
"""

from collections.abc import Mapping

import numpy as np
import orjson

from pipeline.models.pane import PaneGeometry, PaneModel
from pipeline.models.strategies import SIDES, STRATEGIES

_MILLS = np.dtype("<i4")
_USD = np.dtype("<i8")


def pack_tiles(model: PaneModel) -> dict[str, bytes]:
    """The fields of a pane's tiles, in a fixed order."""
    fields = {key: grid.astype(_MILLS, copy=False).tobytes() for key, grid in model.grids.items()}
    for row, side in enumerate(SIDES):
        fields[f"gex:{side}"] = model.gex[row].astype(_USD, copy=False).tobytes()
    fields["head"] = orjson.dumps(model.head)
    return fields


def unpack_tiles(fields: Mapping[bytes, bytes], geometry: PaneGeometry) -> PaneModel:
    """The inverse of pack_tiles. Raises KeyError or ValueError where the fields are not of this pane."""
    strikes, widths = geometry.strikes.size, geometry.widths.size
    grids = {}
    for strategy in STRATEGIES:
        shape = (3, strikes) if strategy == "single" else (3, strikes, widths)
        for side in SIDES:
            key = f"{strategy}:{side}"
            grids[key] = np.frombuffer(fields[key.encode()], dtype=_MILLS).reshape(shape)
    gex = np.stack([np.frombuffer(fields[f"gex:{side}".encode()], dtype=_USD) for side in SIDES])
    return PaneModel(grids, gex, orjson.loads(fields[b"head"]))
