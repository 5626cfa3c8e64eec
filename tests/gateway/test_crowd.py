"""300 clients of one gateway: all of them are told everything, whatever one of them does."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from walrus import Database

from pipeline import tether
from pipeline.settings import Settings
from tests.gateway.conftest import Served, answers, free_port
from tests.gateway.page import DOCUMENTS, Inflated, Page
from tests.waiting import wait_until
from tests.world import World

CLIENTS = 300
TICKS = 10
EVERY_S = 0.1
SLOW_BYTES_PER_S = 1000
LEAVE_S = 3.0
FLAT_BYTES = 48 * 1024 * 1024
_REQUEST = b"GET /sse?symbols=SPX HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"


async def follow(port: int, page: Page, leaving: asyncio.Event) -> None:
    """One client, until it is sent away. It reads chunks as HTTP sends them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head
    inflated = Inflated(gzip=True)
    try:
        while True:
            size = int(await reader.readline() or b"0", 16)
            chunk = await reader.readexactly(size + 2)
            if not size:
                return
            page.feed(inflated.take(chunk[:-2]))
    except (asyncio.IncompleteReadError, ConnectionError):
        assert leaving.is_set(), "a client was cut off"
    finally:
        writer.close()


async def dawdle(port: int, leaving: asyncio.Event) -> None:
    """A client that reads a kilobyte a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=SLOW_BYTES_PER_S)
    writer.write(_REQUEST)
    while not leaving.is_set():
        await reader.read(SLOW_BYTES_PER_S // 10)
        await asyncio.sleep(0.1)
    writer.close()


@pytest.mark.timeout(280)
def test_a_crowd_is_told_everything_and_sent_away_at_the_end(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, tmp_path: Path
) -> None:
    settings = make_settings(redis_url=redis_url, symbols=("SPX",), gateway_port=free_port())
    environment = {
        **os.environ, "REDIS_URL": redis_url, "MASSIVE_SYMBOLS": "SPX", "MASSIVE_DATA_DIR": str(tmp_path),
        "MASSIVE_GATEWAY_PORT": str(settings.gateway_port), "MASSIVE_GATEWAY_CLIENTS_PER_ADDRESS": "1000",
        "MASSIVE_MODEL_RETENTION_S": "2", tether.VARIABLE: "0",
    }
    said = tmp_path / "gateway.log"
    with said.open("wb") as log, subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "worker", "gateway"], env=environment, stdin=subprocess.PIPE, stdout=log,
        stderr=log,
    ) as process:
        try:
            wait_until(lambda: answers(settings.gateway_port), "the gateway", 60)
            served = Served("", settings, World(database, settings), None)  # type: ignore[arg-type]
            served.begin()
            asyncio.run(_crowd(served, process))
            assert process.wait(30) == 0, said.read_text()
        finally:
            process.kill()
    assert "Traceback" not in said.read_text(), said.read_text()


async def _crowd(served: Served, process: "subprocess.Popen[bytes]") -> None:
    leaving, port = asyncio.Event(), served.settings.gateway_port
    pages = [Page() for _ in range(CLIENTS)]
    tasks = [asyncio.create_task(follow(port, page, leaving)) for page in pages]
    tasks.append(asyncio.create_task(dawdle(port, leaving)))

    async def until(predicate: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 90
        while not predicate():
            for task in tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, f"waited for {what}"
            await asyncio.sleep(0.02)

    def show_all() -> bool:
        stored = {("SPX", model): served.world.model(model) for model in DOCUMENTS}
        return all(page.documents == stored for page in pages)

    async def ticks(first: int) -> None:
        for number in range(first, first + TICKS):
            due = time.monotonic() + EVERY_S
            await asyncio.to_thread(served.tick, number)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    await until(lambda: all(page.last_id for page in pages), "everybody's documents")
    memory = psutil.Process(process.pid).memory_info
    await ticks(0)
    await until(show_all, "the last version at everybody's")
    before = memory().rss
    await ticks(TICKS)
    await until(show_all, "the last version at everybody's, once more")
    assert memory().rss - before < FLAT_BYTES
    assert {tuple(reset["reason"] for reset in page.resets) for page in pages} == {("start",)}
    for key, versions in pages[0].versions.items():
        assert all(page.versions[key][-5:] == versions[-5:] for page in pages)
        assert versions == list(range(versions[0], versions[-1] + 1)), key
    assert not any(task.done() for task in tasks), "all of them listen"
    leaving.set()
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 30)
    assert time.monotonic() - asked < LEAVE_S
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
