"""The models as JSON shows them: plain numbers, prices rounded to 1/1000, null where missing, keys in a fixed order."""

from collections.abc import Mapping

from pipeline.models.exposure import BOOKS
from pipeline.models.gravity import Extremum, Gravity, Minute
from pipeline.models.intent import Intent
from pipeline.models.levels import Flip
from pipeline.models.mode import Mode
from pipeline.models.symbol import Levels, Profile, SymbolModels

Record = dict[str, object]


def price(value: float | None) -> float | None:
    """Dollars rounded to 1/1000. Adding 0 turns a negative zero into zero."""
    return None if value is None else round(value, 3) + 0.0


def plain(value: float | None) -> float | None:
    """A number without a unit, rounded to 6 decimals."""
    return None if value is None else round(value, 6) + 0.0


def dollars(value: float | None) -> int | None:
    """Whole dollars."""
    return None if value is None else round(value)


def books_record(models: SymbolModels, oi_date: str | None) -> Record:
    """Totals by book. Open interest is settled overnight: ``oi_date`` is the session whose close it describes."""
    books: Record = {name: dict(models.books[name]) for name in BOOKS}
    books["oi"] = {"oi_date": oi_date, **models.books["oi"]}
    return books


def flip_record(flip: Flip) -> Record:
    return {
        "value": price(flip.value),
        "reason": flip.reason,
        "sign": flip.sign,
        "roots": [price(root) for root in flip.roots],
    }


def levels_record(levels: Levels) -> Record:
    """Levels; ``reasons`` says of each that is null why, but for the flip, which says so itself."""
    walls = levels.walls
    values: dict[str, float | None] = {
        "call_wall": walls.call,
        "put_wall": walls.put,
        "call_wall_anywhere": walls.call_anywhere,
        "put_wall_anywhere": walls.put_anywhere,
        "max_pain": levels.max_pain,
        "expected_move": levels.expected_move,
    }
    without_front = "no_front_pane" if levels.front is None else None
    why = {
        "call_wall": "no_gamma_above",
        "put_wall": "no_gamma_below",
        "call_wall_anywhere": "no_gamma",
        "put_wall_anywhere": "no_gamma",
        "max_pain": without_front or "no_open_interest",
        "expected_move": without_front or "no_volatility",
    }
    return {
        "flip": flip_record(levels.flip),
        **{name: price(value) for name, value in values.items()},
        "front": levels.front,
        "coverage": plain(levels.coverage),
        "reasons": {name: why[name] for name, value in values.items() if value is None},
    }


def mode_record(mode: Mode, constants: int) -> Record:
    return {
        "score": plain(mode.score),
        "label": mode.label,
        "reason": mode.reason,
        "distance": plain(mode.distance),
        "ratio": plain(mode.ratio),
        "constants": constants,
    }


def intent_record(intent: Intent, constants: int) -> Record:
    return {
        "lfi": plain(intent.lfi),
        "bias": plain(intent.bias),
        "quadrant": intent.quadrant,
        "reason": intent.reason,
        "hedge_up_usd": dollars(intent.up),
        "hedge_down_usd": dollars(intent.down),
        "charm_usd": dollars(intent.charm),
        "constants": constants,
    }


def gravity_record(gravity: Gravity, constants: int) -> Record:
    return {
        "best": price(gravity.best),
        "low": price(gravity.low),
        "high": price(gravity.high),
        "pull": plain(gravity.pull),
        "confidence": plain(gravity.confidence),
        "reason": gravity.reason,
        "pane": gravity.pane,
        "wells": [_extremum(well) for well in gravity.wells],
        "ridges": [_extremum(ridge) for ridge in gravity.ridges],
        "constants": constants,
    }


def minute_record(minute: Minute, constants: int) -> Record:
    """A final minute of Dealer Gravity."""
    return {"minute": minute.minute, "ts": minute.ts, **gravity_record(minute.gravity, constants)}


def profiles_record(profiles: Mapping[str, Profile]) -> Record:
    """G(x) of each book over the same prices, $ per 1 % move."""
    prices = profiles[BOOKS[0]].prices.tolist()
    return {
        "prices": [price(value) for value in prices] if all(value == value for value in prices) else None,
        **{
            name: {"net": profile.net.tolist(), "gross": profile.gross.tolist()} for name, profile in profiles.items()
        },
    }


def _extremum(extremum: Extremum) -> Record:
    return {"price": price(extremum.price), "usd": extremum.usd, "prominence": extremum.prominence}
