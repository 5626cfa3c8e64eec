"""What an update costs the page's main thread, by Chromium's own performance trace: `python -m tests.browser.trace`.

A pane of 715 strikes by 7 widths is served to the page as the gateway would, and ten times a second every one of its
5,005 tiles, spot and the GEX of every strike change. Printed is what the page's main thread was busy with while that
went on, by update: figures, panels, layout, the table, everything; and the same of the worker, which parses, applies
and draws.
"""

import asyncio
import math
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import pipeline

DASHBOARD = Path(pipeline.__file__).parent / "dashboard"
HERTZ, SECONDS, WARM_S = 10, 10, 4
STRIKES = [5000 + 5 * step for step in range(715)]
WIDTHS = [20, 25, 30, 35, 40, 45, 50]
PANE, SPOT = "2026-12-18:SPXW", 6800.0
EPOCH = "SPX:1795532404379:17c3e9"
TS = 1_795_532_404_379


def header(schema: str, version: int) -> dict[str, Any]:
    return {
        "schema": schema, "symbol": "SPX", "epoch": EPOCH, "version": version, "ts": TS,
        "as_of": {"quotes": TS, "chain": TS, "spot": TS, "oi_date": "2026-11-23"}, "spot": SPOT, "status": "live",
        "coverage": 1.0,
    }


def price(row: int, column: int, number: int) -> float:
    away = (STRIKES[row] - SPOT) / 60
    return round(WIDTHS[column] * math.exp(-away * away) * (0.5 + 0.02 * math.sin(number + row + column)), 3)


def usd(row: int, number: int, scale: float) -> int:
    return round(scale * (1 + row % 17 + math.sin(number + row)))


def heatmap() -> dict[str, Any]:
    grid = [[price(row, column, 0) for column in range(7)] for row in range(715)]
    single = [10.0] * 715
    sides = {side: dict.fromkeys(("mid", "buy", "sell"), grid) for side in ("call", "put")}
    singles = {side: dict.fromkeys(("mid", "buy", "sell"), single) for side in ("call", "put")}
    head = {
        "expiration": PANE[:10], "root": "SPXW", "settlement": "PM", "dte": 24, "forward": SPOT, "expected_move": 219.0,
        "atm_iv": 0.12, "max_pain": 6800.0, "discount": 0.998, "violation_counts": {"noise": 0, "stale_or_arb": 0},
    }
    pane = {**head, "strikes": STRIKES, "butterfly": sides, "vertical": sides, "single": singles}
    return {**header("heatmap/1", 1), "widths": WIDTHS, "panes": {PANE: pane}}


def side(name: str, scale: float) -> dict[str, Any]:
    by_strike = {str(strike): usd(row, 0, scale) for row, strike in enumerate(STRIKES)}
    return {**header("gex-side/1", 1), "side": name, "book": "oi", "expirations": {PANE: by_strike}}


def event(model: str, kind: str, version: int, document: dict[str, Any]) -> bytes:
    now = round(time.time() * 1000)
    name = model if kind == "full" else f"{model}_diff"
    sent = {"symbol": "SPX", "model": model, "kind": kind, "epoch": EPOCH, "base": version - 1, "version": version,
            "ts": TS + version, "received": now, "published": now, "document": document}
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(sent) + b"\n\n"


def update(number: int) -> bytes:
    """The events of one update: every tile, every strike, spot."""
    version = number + 1
    tiles = {"i": list(range(5005)), "v": [price(at // 7, at % 7, number) for at in range(5005)]}
    said = [event("heatmap", "diff", version, {
        **header("heatmap-diff/1", version), "base": version - 1, "panes": {PANE: {"butterfly:call:mid": tiles}},
    })]
    for name, scale in (("calls", 1e7), ("puts", -1e7)):
        change = {"k": list(map(str, STRIKES)), "v": [usd(row, number, scale) for row in range(715)]}
        said.append(event(f"gex_{name}", "diff", version, {
            **header("gex-side-diff/1", version), "base": version - 1, "panes": {PANE: {name: change}},
        }))
    spot = {"symbol": "SPX", "price": round(SPOT + math.sin(number), 2), "ts": TS + number, "published": TS}
    said.append(b"event: spot\ndata: " + orjson.dumps(spot) + b"\n\n")
    return b"".join(said)


def app(updates: list[bytes]) -> Starlette:
    async def stream(_: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            yield event("heatmap", "full", 1, heatmap())
            yield event("gex_calls", "full", 1, side("calls", 1e7)) + event("gex_puts", "full", 1, side("puts", -1e7))
            due = 0.0
            for number, sent in enumerate(updates):
                due = max(due, time.monotonic()) + 1 / HERTZ  # what was missed is not caught up
                await asyncio.sleep(due - time.monotonic())
                beat = {"now": round(time.time() * 1000), "redis": True, "replay": None, "symbols": {}}
                yield sent + (b"event: heartbeat\ndata: " + orjson.dumps(beat) + b"\n\n" if number % 20 == 0 else b"")

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def nothing(_: Request) -> JSONResponse:
        return JSONResponse({"replays": [], "recorded": {}})

    async def index(_: Request) -> FileResponse:
        return FileResponse(DASHBOARD / "index.html")

    return Starlette(routes=[
        Route("/", index), Route("/sse", stream), Route("/api/{path:path}", nothing),
        Mount("/dashboard", StaticFiles(directory=DASHBOARD)),
    ])


def busy(trace: bytes, thread_name: str) -> list[tuple[float, float]]:
    """(start, ms of its CPU time) of every task of the thread of that name that did most."""
    events = orjson.loads(trace)["traceEvents"]
    named = {(one["pid"], one["tid"]) for one in events
             if one.get("name") == "thread_name" and one["args"]["name"] == thread_name}
    tasks: dict[tuple[int, int], list[tuple[float, float]]] = {thread: [] for thread in named}
    for one in events:
        if one.get("name") == "RunTask" and one.get("ph") == "X" and "tdur" in one:
            thread = (one["pid"], one["tid"])
            if thread in tasks:
                tasks[thread].append((one["ts"] / 1000, one["tdur"] / 1000))
    return max(tasks.values(), key=lambda found: sum(took for _, took in found))


def told(tasks: list[tuple[float, float]]) -> str:
    """An update comes each tenth of a second: what falls into a tenth is what one costs, and all that goes on beside
    it."""
    first = min(start for start, _ in tasks)
    tenths = [0.0] * (1 + int((max(start for start, _ in tasks) - first) * HERTZ / 1000))
    for start, took in tasks:
        tenths[int((start - first) * HERTZ / 1000)] += took
    by_size = sorted(tenths)
    return (f"{sum(tenths) / len(tenths):.1f} ms (median {by_size[len(by_size) // 2]:.1f}, 95 % "
            f"{by_size[int(len(by_size) * 0.95)]:.1f}, most {by_size[-1]:.1f})")


def measured(browser: Any, url: str, width: int, height: int) -> str:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(url)
    page.wait_for_function("window.marketswarm?.state.facts?.heatmap?.version > 1")
    page.wait_for_timeout(WARM_S * 1000)
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    page.wait_for_timeout(SECONDS * 1000)
    trace = browser.stop_tracing()
    drawn = page.evaluate("window.marketswarm.ask('drawn')")
    tiles = math.ceil(drawn["height"] / drawn["rowHeight"]) * len(WIDTHS)
    page.close()
    return (f"{width}x{height}: an update takes {told(busy(trace, 'CrRendererMain'))} of main thread, "
            f"{told(busy(trace, 'DedicatedWorker thread'))} of the worker; {tiles} of 5,005 tiles in sight")


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on PATH")
    updates = [update(number) for number in range(1, HERTZ * (SECONDS + WARM_S + 30))]
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app(updates), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in ((1440, 900), (3840, 2160)):
            print(measured(browser, f"http://127.0.0.1:{listener.getsockname()[1]}/", width, height))  # noqa: T201
        browser.close()


if __name__ == "__main__":
    main()
