"""Epochs as stages read them: immutable facts, read once and kept for as long as they are likely to be asked for."""

from collections import OrderedDict
from dataclasses import dataclass

from walrus import Database

from pipeline.geometry import Pane, pane_order, unpack_pane
from pipeline.keys import Keys
from pipeline.scripts import Scripts

_KEPT = 8


@dataclass(frozen=True, slots=True)
class Epoch:
    """``panes`` in the order of their expiry. ``rate`` is per year, continuously compounded."""

    id: str
    symbol: str
    snapshot_ts: int
    rate: float
    panes: dict[str, Pane]


def tell_feed(scripts: Scripts, keys: Keys, symbol: str, epoch: str, event: str, ts: int | str) -> bool:
    """Say of an epoch that its feed fell ``dormant`` or ``resumed``; False where it is no longer the active one."""
    return bool(scripts.run(
        "dormant",
        {
            "active": keys.epoch_active(symbol), "meta": keys.epoch_meta(epoch), "job": keys.chain_job(symbol),
            "epochs": keys.stream("epoch", symbol),
        },
        {"symbol": symbol, "epoch": epoch, "event": event, "ts": ts, "names": dict(keys.names(symbol, epoch))},
    ))


class Epochs:
    """Reads epochs by id. An epoch's geometry never changes, so what was read once stays true."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._known: OrderedDict[str, Epoch] = OrderedDict()

    def get(self, epoch_id: str) -> Epoch | None:
        """None: its keys are gone."""
        epoch = self._known.get(epoch_id)
        if epoch is None:
            epoch = self._read(epoch_id)
            if epoch is None:
                return None
            self._known[epoch_id] = epoch
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(epoch_id)
        return epoch

    def _read(self, epoch_id: str) -> Epoch | None:
        meta = self._database.hgetall(self._keys.epoch_meta(epoch_id))
        geometry = self._database.hgetall(self._keys.geometry(epoch_id))
        if not meta or not geometry or b"widths" not in meta:
            return None
        widths = [float(width) for width in meta[b"widths"].decode().split(",")]
        panes = {name.decode(): packed for name, packed in geometry.items()}
        return Epoch(
            epoch_id, meta[b"symbol"].decode(), int(meta[b"snapshot_ts"]), float(meta[b"rate"]),
            {pane: unpack_pane(pane, panes[pane], widths) for pane in sorted(panes, key=pane_order)},
        )
