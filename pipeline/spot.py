"""The newest spot of an underlying, as hydrate keeps it in Redis."""

import orjson
from walrus import Database

from pipeline.keys import Keys
from pipeline.provider.market import Value, price_of


def held_spot(database: Database, keys: Keys, symbol: str) -> Value | None:
    """None where there is none, or none that could be one."""
    held = database.get(keys.spot(symbol))
    try:
        spot = orjson.loads(held) if held else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(spot, dict):
        return None
    price, ts = price_of(spot.get("price")), spot.get("ts")
    return Value(symbol, price, ts) if price is not None and isinstance(ts, int) else None
