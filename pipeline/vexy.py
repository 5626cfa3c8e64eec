"""The facts a commentator needs, as a pure fold of publications: each with its age in event time, and a sentence.

Nothing here reads a clock. Sentences describe prices and positions as they are; none says what will be.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.folding import Seen, member, number, text
from pipeline.geometry import NEW_YORK, new_york_day

MODELS = frozenset({"gex", "market_mode", "liquidity_intent", "dealer_gravity", "heatmap"})
SCHEMA = "vexy-intel/1"
_HEADER = ("as_of", "spot", "status", "coverage")
_NOTED = {
    "market_mode": ("score", "label", "reason", "distance", "ratio", "constants"),
    "liquidity_intent": ("lfi", "bias", "quadrant", "reason"),
    "dealer_gravity": ("best", "low", "high", "pull", "confidence", "reason", "pane"),
}
_ARRAY, _STRATEGY = "butterfly:call:mid", "butterfly"

Geometry = Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Pane -> (strikes, widths), panes in the order of their expiry."""


@dataclass(frozen=True, slots=True)
class VexyConstants:
    """What documents depend on besides publications. A change of any makes another ``version``."""

    version: int = 1
    pause_ms: int = 1_000
    """A document is written again after so long in event time, or when mode, quadrant or side of the flip changes."""
    panes: int = 2
    strikes: int = 10
    """Tiles that are watched: call butterflies of the first panes, so many strikes on either side of spot."""
    moves: int = 5
    moves_ms: int = 300_000
    """The largest changes of these tiles within so long."""


CONSTANTS = VexyConstants()


@dataclass(slots=True)
class State:
    """What is remembered of an underlying; small, and JSON when stored."""

    constants: int = CONSTANTS.version
    version: int = 0
    epoch: str = ""
    ts: int = 0
    header_ts: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)
    """Event time of each model's last publication."""
    day: dict[str, Any] = field(default_factory=dict)
    """The New York day of spot, its first spot and when that was."""
    noted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> what facts are made of."""
    cells: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Pane -> flat index -> price of the tiles that are watched."""
    moves: list[dict[str, Any]] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)
    """Event time, mode, quadrant and side of the flip of the last document."""

    @classmethod
    def read(cls, stored: bytes) -> "State":
        """The state as stored; an empty one where there is none, or one of other constants."""
        parsed = orjson.loads(stored) if stored else {}
        if parsed.get("constants") != CONSTANTS.version:
            return cls()
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in parsed.items() if name in known})

    def stored(self) -> bytes:
        return orjson.dumps(self)


def step(
    state: State, seen: Seen, geometry: Geometry | None = None, constants: VexyConstants = CONSTANTS
) -> tuple[State, dict[str, Any] | None]:
    """Fold one publication of a model in MODELS: the next state, and the document where one is due.

    ``geometry`` is of its epoch; without it the moves of the surface are left out. The arguments are not changed. A
    publication that is not newer than the last of its model changes nothing.
    """
    if list(seen.order) <= state.seen.get(seen.model, []):
        return state, None
    state = deepcopy(state)
    state.seen[seen.model], state.at[seen.model] = list(seen.order), seen.ts
    state.ts, state.epoch = seen.ts, seen.epoch
    state.header_ts = max(0, int(number(seen.body, "ts") or seen.ts))
    state.header.update((name, seen.body[name]) for name in _HEADER if name in seen.body)
    _note(state, seen)
    if seen.model == "heatmap" and geometry:
        _surface(state, seen, geometry, constants)
    marks = [text(state.noted, "market_mode", "label"), text(state.noted, "liquidity_intent", "quadrant"), _side(state)]
    if state.written and state.written[1:] == marks and abs(seen.ts - state.written[0]) < constants.pause_ms:
        return state, None
    state.version += 1
    state.written = [seen.ts, *marks]
    return state, document(state, seen.symbol)


def document(state: State, symbol: str) -> dict[str, Any]:
    """What is published: the header every model has, and ten facts. A fact nobody knows has no age and says so."""
    header = state.header
    as_of = header.get("as_of") if isinstance(header.get("as_of"), dict) else {}
    makers = {
        "spot": (_spot, "spot"), "expected_move": (_expected_move, "gex"), "mode": (_mode, "market_mode"),
        "gamma": (_gamma, "gex"), "flip": (_flip, "gex"), "walls": (_walls, "gex"),
        "gravity": (_gravity, "dealer_gravity"), "intent": (_intent, "liquidity_intent"),
        "moves": (_moves, "heatmap"), "freshness": (_freshness, "spot"),
    }
    facts = {}
    for name, (make, source) in makers.items():
        made = make(state)
        at = state.ts if source == "spot" else state.at.get(source)
        age = None if made is None or at is None else max(0, state.ts - at)
        facts[name] = {"age_ms": age, **(made or {"text": f"No {name.replace('_', ' ')} is known."})}
    return {
        "schema": SCHEMA, "symbol": symbol, "epoch": state.epoch, "version": state.version, "ts": max(0, state.ts),
        "as_of": {name: (as_of or {}).get(name) for name in ("quotes", "chain", "spot", "oi_date")},
        "spot": number(header, "spot"), "status": header.get("status") or "stale", "coverage": header.get("coverage"),
        "facts": facts,
    }


def _note(state: State, seen: Seen) -> None:
    spot = number(seen.body, "spot")
    if spot is not None:
        at = int(number(seen.body, "as_of", "spot") or seen.ts)
        day = new_york_day(at).isoformat()
        if state.day.get("day") != day:
            state.day = {"day": day, "first": spot, "at": at}
    if seen.model in _NOTED:
        state.noted[seen.model] = {name: seen.body.get(name) for name in _NOTED[seen.model]}
    if seen.model == "gex":
        noted = state.noted.setdefault("gex", {})
        if "levels" in seen.body:
            names = ("call_wall", "put_wall", "expected_move")
            noted.update((name, number(seen.body, "levels", name)) for name in names)
            noted["front"] = text(seen.body, "levels", "front")
            noted["flip"] = number(seen.body, "levels", "flip", "value")
            noted["why"] = text(seen.body, "levels", "flip", "reason")
        if "books" in seen.body:
            noted["net"] = number(seen.body, "books", "oi", "net")
            noted["gross"] = number(seen.body, "books", "oi", "gross")


def _side(state: State) -> int | None:
    spot, flip = number(state.header, "spot"), number(state.noted, "gex", "flip")
    return None if spot is None or flip is None or spot == flip else (1 if spot > flip else -1)


# --- the surface ---
def _surface(state: State, seen: Seen, geometry: Geometry, constants: VexyConstants) -> None:
    """Changes of the watched tiles. A full document says what they are, with no change to tell."""
    spot = number(state.header, "spot")
    if spot is None:
        return
    full = seen.kind == "full"
    cells: dict[str, dict[str, float | None]] = {}
    moves = [move for move in state.moves if 0 <= seen.ts - move["ts"] <= constants.moves_ms]
    for pane in list(geometry)[: constants.panes]:
        strikes, widths = geometry[pane]
        middle = sum(strike < spot for strike in strikes)
        nearest = range(max(0, middle - constants.strikes), min(len(strikes), middle + constants.strikes))
        watched = {str(s * len(widths) + w) for s in nearest for w in range(len(widths))}
        held = {} if full else {index: v for index, v in state.cells.get(pane, {}).items() if index in watched}
        for index, value in _changes(seen, pane, full, len(widths)):
            key = str(index)
            if key not in watched:
                continue
            before = held.get(key)
            held[key] = value
            if before is not None and value is not None and before != value:
                strike, width = strikes[index // len(widths)], widths[index % len(widths)]
                moves.append({
                    "pane": pane, "strategy": _STRATEGY, "side": "call", "strike": strike, "width": width,
                    "from": before, "to": value, "change": round(value - before, 3), "ts": seen.ts,
                })
        cells[pane] = held
    state.cells = cells
    largest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for move in sorted(moves, key=lambda move: (-abs(move["change"]), -move["ts"])):
        largest.setdefault((move["pane"], move["strike"], move["width"]), move)
    state.moves = list(largest.values())[: constants.moves]


def _changes(seen: Seen, pane: str, full: bool, widths: int) -> list[tuple[int, float | None]]:
    """(flat index, price) of one pane's call butterflies at mid; nothing where they are absent."""
    if full:
        rows = member(seen.body, "panes", pane, "butterfly", "call", "mid") or []
        return [(s * widths + w, value) for s, row in enumerate(rows) for w, value in enumerate(row)]
    change = member(seen.body, "panes", pane, _ARRAY)
    if change is None:
        return []
    return list(zip(change["i"], change["v"], strict=True))


# --- facts: values and a sentence; None where nothing is known ---
def _spot(state: State) -> dict[str, Any] | None:
    spot, first = number(state.header, "spot"), number(state.day, "first")
    if spot is None or first is None or first <= 0:
        return None
    change, share = round(spot - first, 3), round(spot / first - 1.0, 6)
    return {"value": spot, "first": first, "change": change, "share": share, "text": (
        f"Spot is {spot:,.2f}, {change:+,.2f} ({share:+.2%}) from the first of the day seen, {first:,.2f}."
    )}


def _expected_move(state: State) -> dict[str, Any] | None:
    spot, first = number(state.header, "spot"), number(state.day, "first")
    move = number(state.noted, "gex", "expected_move")
    if not move or spot is None or first is None:
        return None
    used = round(abs(spot - first) / move, 4)
    return {"value": move, "used": used, "front": state.noted["gex"].get("front"), "text": (
        f"The front pane prices an expected move of {move:,.2f} points; spot stands {used:.0%} of it from the first of "
        "the day."
    )}


def _mode(state: State) -> dict[str, Any] | None:
    mode = state.noted.get("market_mode", {})
    score = number(mode, "score")
    if score is None:
        return None
    how = {"compression": "the model has dealers' hedging damp moves", "expansion": "the model has it amplify moves"}
    label = mode.get("label")
    return {**mode, "text": f"Market mode is {label} at {score:.0f} of 100: "
            f"{how.get(str(label), 'the model has it neither damp nor amplify moves')}."}


def _gamma(state: State) -> dict[str, Any] | None:
    net = number(state.noted, "gex", "net")
    if net is None:
        return None
    regime = "positive" if net > 0 else "negative" if net < 0 else "zero"
    return {"net_usd": net, "gross_usd": state.noted["gex"].get("gross"), "regime": regime, "text": (
        f"Dealers' net gamma under the naive sign model is {regime}: {net / 1e6:,.0f} million dollars per 1 % move."
    )}


def _flip(state: State) -> dict[str, Any] | None:
    flip, spot = number(state.noted, "gex", "flip"), number(state.header, "spot")
    if flip is None or spot is None:
        return None
    away = round(spot - flip, 3)
    where = "above" if away > 0 else "below" if away < 0 else "from"
    return {"value": flip, "distance": away, "reason": state.noted["gex"].get("why"), "text": (
        f"The gamma flip is at {flip:,.2f}; spot is {abs(away):,.2f} {where} it."
    )}


def _walls(state: State) -> dict[str, Any] | None:
    call, put = number(state.noted, "gex", "call_wall"), number(state.noted, "gex", "put_wall")
    if call is None and put is None:
        return None
    told = [f"the {name} wall is at {wall:,.2f}" for name, wall in (("call", call), ("put", put)) if wall is not None]
    sentence = " and ".join(told)
    return {"call": call, "put": put, "text": f"{sentence[0].upper()}{sentence[1:]}."}


def _gravity(state: State) -> dict[str, Any] | None:
    gravity = state.noted.get("dealer_gravity", {})
    best, low, high = number(gravity, "best"), number(gravity, "low"), number(gravity, "high")
    if best is None or low is None or high is None:
        return None
    return {**gravity, "text": (
        f"The front pane's density weighed by dealer gamma has its mean at {best:,.2f}, and 80 % of it between "
        f"{low:,.2f} and {high:,.2f}."
    )}


def _intent(state: State) -> dict[str, Any] | None:
    intent = state.noted.get("liquidity_intent", {})
    quadrant, lfi, bias = text(intent, "quadrant"), number(intent, "lfi"), number(intent, "bias")
    if quadrant is None or lfi is None or bias is None:
        return None
    return {**intent, "text": f"Liquidity intent is in the quadrant {quadrant.replace('_', ' ')}: "
            f"flow index {lfi:.0f} of 100, bias {bias:+.0f}."}


def _moves(state: State) -> dict[str, Any] | None:
    if not state.moves:
        return None
    top = state.moves[0]
    return {"top": state.moves, "text": (
        f"The largest recent change near the money is the {top['strike']:,g} butterfly of width {top['width']:g}, "
        f"{top['pane']}: from {top['from']:,.2f} to {top['to']:,.2f}."
    )}


def _freshness(state: State) -> dict[str, Any] | None:
    status, at = state.header.get("status"), state.header.get("as_of")
    if not isinstance(at, dict):
        return None
    told = [f"{name} of {_clock(at[name])}" for name in ("quotes", "chain", "spot") if isinstance(at.get(name), int)]
    ages = {f"{name}_age_ms": max(0, state.ts - at[name]) for name in ("quotes", "chain", "spot")
            if isinstance(at.get(name), int)}
    return {"status": status, **ages, "text": f"Data are {status}: {', '.join(told) or 'of unknown time'}."}


def _clock(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone(NEW_YORK).strftime("%H:%M New York time")
