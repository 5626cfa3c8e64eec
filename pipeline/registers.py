"""Last-writer-wins registers: what a contract is worth, ordered by (provider time ms, sequence).

A register is a list of texts, None where there is no value; Redis holds it as one text (``packed``), which
``lua/include/newest.lua`` orders. The chain's is the newest of all: chains are applied in their order.
"""

import math
from collections.abc import Mapping, Sequence

Register = list[str | None]

PRICE_LIMIT = 100_000.0
"""Dollars. No listed option costs as much; above it a number is an error, and documents could not print it."""
COUNT_LIMIT = 1_000_000_000_000
FIRST_MS, LAST_MS = 10**12, 4_102_444_800_000  # 2001 (the first of 13 digits) and 2100: others are no event times
FUTURE_MS = 7 * 86_400_000
"""A time so long after its epoch's snapshot is an error: as the newest it would silence what it dates."""
SEQUENCE_LIMIT = 2**53  # Lua counts in doubles

REGISTERS: Mapping[str, tuple[str, ...]] = {
    "quotes": ("quote_ts", "quote_seq", "bid", "ask", "bid_size", "ask_size"),
    "trades": ("trade_ts", "trade_seq", "last", "last_size"),
    "volumes": ("volume_ts", "volume"),
    "chain": ("chain_ts", "oi", "iv", "delta", "gamma", "theta", "vega"),
}
"""What there is of each contract, and what stands in it in this order. Times are ms, prices dollars."""
LEGEND = "legend"


class ValueFault(ValueError):
    """A value that cannot be what its field says. ``reason`` is a short word to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def price(value: object, name: str) -> str | None:
    """A price in dollars as the shortest decimal that reads back to the same float64. None stays None."""
    if value is None:
        return None
    number = _number(value, name)
    if number < 0:
        raise ValueFault("negative_price", f"{name} is negative: {number!r}")
    if number >= PRICE_LIMIT:
        raise ValueFault("out_of_range", f"{name} is beyond {PRICE_LIMIT:.0f}: {number!r}")
    return decimal(number)


def rate(value: object, name: str) -> str | None:
    """Any finite number (a greek, an implied volatility) as the shortest decimal. None stays None."""
    return None if value is None else decimal(_number(value, name))


def count(value: object, name: str) -> str | None:
    """A whole number of contracts. None stays None."""
    if value is None:
        return None
    number = _number(value, name)
    if number < 0 or number > COUNT_LIMIT:
        raise ValueFault("out_of_range", f"{name} is no number of contracts: {number!r}")
    return str(round(number))


def time_ms(value: object, name: str, per_ms: int = 1) -> str:
    """An event time as integer ms; ``per_ms`` 1,000,000 where the provider counts nanoseconds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueFault("bad_time", f"{name} is not an integer: {value!r:.40}")
    ms = value // per_ms
    if not FIRST_MS <= ms < LAST_MS:
        raise ValueFault("bad_time", f"{name} is no time of this century: {value}")
    return str(ms)


def not_after(ts: str | int, snapshot_ts: str | int, name: str) -> None:
    """Refuse what lies too far ahead of a snapshot: event time against event time, never this machine's clock."""
    if int(ts) > int(snapshot_ts) + FUTURE_MS:
        raise ValueFault("in_the_future", f"{name} is dated {ts}, the snapshot {snapshot_ts}")


def sequence(value: object, name: str) -> str:
    """A provider sequence number; a missing one is 0."""
    if value is None:
        return "0"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < SEQUENCE_LIMIT:
        raise ValueFault("bad_sequence", f"{name} is no sequence number: {value!r:.40}")
    return str(value)


def decimal(number: float) -> str:
    """The shortest decimal that reads back to the same float64; whole numbers without a point."""
    text = repr(number + 0.0)
    return text.removesuffix(".0")


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueFault("wrong_type", f"{name} is not a number: {value!r:.40}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueFault("out_of_range", f"{name} is too large") from None
    if not math.isfinite(number):
        raise ValueFault("not_finite", f"{name} is {number}")
    return number


def packed(register: Register) -> str:
    """As Redis holds it."""
    return "|".join(value or "" for value in register)


def legends() -> dict[str, str]:
    """What the hashes of each kind say of themselves, and under which field. It is long enough
    (``hash-max-listpack-value`` is 64) to make a hash table of any of them: in a list, which hashes of up to 512 fields
    would be, one of 500 registers is found in 2.7 us instead of 0.08."""
    texts = {kind: f"of each ticker {'|'.join(of)}: times in ms, nothing where there is no value"
             for kind, of in REGISTERS.items()}
    return {"field": LEGEND, **texts}


def fields(kind: str, text: str) -> dict[str, str]:
    """What stands in a packed register, by name; what has no value is left out."""
    if not text:
        return {}
    return {name: value for name, value in zip(REGISTERS[kind], text.split("|"), strict=True) if value}


def order(register: Sequence[str | None]) -> tuple[float, float, tuple[str, ...]]:
    """What decides which of two registers is the newer: time, sequence, then the values, as newest.lua does."""
    return float(register[0] or -1), float(register[1] or -1), tuple(value or "" for value in register[2:])


def newest(a: Register | None, b: Register | None) -> Register | None:
    """The newer of two registers of a kind."""
    if a is None or b is None:
        return a or b
    return a if order(a) >= order(b) else b
