"""A version that is not what live published, told from the contract to the model, with the entries behind it."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline.contract import make_ticker
from pipeline.epochs import Epoch
from pipeline.geometry import split_pane
from pipeline.replay.verify import Difference
from pipeline.replay.window import Commit, Window, shown

_ENTRIES = 3
_NOTHING = "nothing"


def explain(window: Window, difference: Difference, epoch: Epoch | None) -> list[str]:
    """Lines for people: the model and its version, the first value that differs, its contracts, their last entries."""
    version = difference.version
    at = shown(int(version.id.partition("-")[0]))
    lines = [f"{version.model} version {version.version} ({version.kind}, published {at})"]
    if difference.made is None:
        return [*lines, "  live published it, here nothing new was to be published"]
    place = next(_differing(orjson.loads(difference.published), orjson.loads(difference.made), ()), None)
    if place is None:
        return [*lines, "  the same JSON in other bytes"]
    path, live, here = place
    lines.append(f"  {' > '.join(path)}: live {_short(live)}, here {_short(here)}")
    pane = next((part for part in path if epoch is not None and part in epoch.panes), None)
    if pane is None or epoch is None:
        return [*lines, f"  facts of commit {version.header}", *_commits(window, version.header)]
    seq = (version.greeks if path[0] == "heads" else version.seqs).get(pane, version.header)
    tickers = _contracts(epoch, pane, path)
    lines.append(f"  pane {pane}, computed at commit {seq}; contracts: {', '.join(tickers) or 'all of the pane'}")
    for ticker in tickers:
        entries = list(_entries(window, ticker, seq))[-_ENTRIES:]
        lines += [f"    {ticker}: {entry} in commit {commit.seq} ({commit.kind})" for entry, commit in entries]
    return lines


def _differing(live: Any, here: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Where two documents differ, in their order. Values of a diff are looked up by their place."""
    if isinstance(live, dict) and isinstance(here, dict):
        live, here = _by_place(live), _by_place(here)
        for name in dict.fromkeys([*live, *here]):
            yield from _differing(live.get(name, _NOTHING), here.get(name, _NOTHING), (*path, str(name)))
    elif isinstance(live, list) and isinstance(here, list) and len(live) == len(here):
        for place, (ours, theirs) in enumerate(zip(live, here, strict=True)):
            yield from _differing(ours, theirs, (*path, str(place)))
    elif orjson.dumps(live) != orjson.dumps(here):
        yield path, live, here


def _by_place(change: dict[str, Any]) -> dict[str, Any]:
    places = change.get("i") or change.get("k")
    if isinstance(places, list) and isinstance(change.get("v"), list):
        return dict(zip(map(str, places), change["v"], strict=True))
    return change


def _contracts(epoch: Epoch, pane: str, path: tuple[str, ...]) -> list[str]:
    """The contracts behind a number of a pane: its strike's, and those a width away."""
    geometry = epoch.panes[pane].geometry
    rest = path[path.index(pane) + 1 :]
    words = [word for part in rest for word in part.split(":")]
    sides = [side for side in ("call", "put") if side in words or f"{side}s" in words] or ["call", "put"]
    strikes: list[float] = []
    if rest and rest[-1].isdigit() and ":" in rest[0]:  # a cell of a diff: strike times widths plus width
        number = int(rest[-1])
        widths = [0.0] if words[0] == "single" else geometry.widths.tolist()
        strike, width = geometry.strikes[number // len(widths)], widths[number % len(widths)]
        strikes = sorted({float(strike + step * width) for step in (-1, 0, 1)})
    elif rest and _is_number(rest[-1]):
        strikes = [float(rest[-1])]
    day, root = split_pane(pane)
    tickers = [make_ticker(root, day, side, strike) for strike in strikes for side in sides]
    return [ticker for ticker in tickers if ticker in epoch.panes[pane].places]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entries(window: Window, ticker: str, seq: int) -> Iterator[tuple[str, Commit]]:
    """The entries that named a contract, up to a commit, with the commit that applied them."""
    index, named = window.by_ids("ws"), ticker.encode()
    for commit in window.commits:
        if commit.seq > seq:
            return
        if commit.kind == "hydrate":
            for row in index.of(commit.ranges):
                if named in row.fields.get(b"payload", b""):
                    yield f"frame {row.id}", commit
        elif commit.kind in ("promote", "refresh"):
            yield f"chain {commit.ids}", commit


def _commits(window: Window, seq: int) -> list[str]:
    last = [commit for commit in window.commits if commit.seq <= seq and commit.kind != "hydrate"][-_ENTRIES:]
    return [f"    commit {commit.seq} ({commit.kind}): {commit.ids or 'the keeper'}" for commit in last]


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode() if isinstance(value, Mapping | list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
