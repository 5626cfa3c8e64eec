"""docket (PyPI pydocket): tasks on a stream, each claimed and finished by scripts of its own."""

import asyncio
from datetime import timedelta
from functools import cache

from docket import Docket, Worker
from redis.asyncio import Redis

from pipeline.bench.peers.hop import jobs, put

_CONCURRENCY = 50
_CHECK = timedelta(milliseconds=5)  # how long it sleeps while all are busy


@cache
def _client(url: str) -> "Redis":
    return Redis.from_url(url)


async def hop(url: str, name: str, value: int) -> None:
    pipeline = _client(url).pipeline(transaction=False)
    put(pipeline, name, value)
    await pipeline.execute()


def _docket(url: str) -> Docket:
    return Docket(name="bench-hops", url=url, execution_ttl=timedelta(0))


def fill(url: str, entries: int) -> None:
    async def run() -> None:
        async with _docket(url) as docket:
            docket.register(hop)
            await docket.add_many([docket.call(hop)(url, name, value) for name, value in jobs(entries)])

    asyncio.run(run())


def work(url: str) -> None:
    async def run() -> None:
        async with _docket(url) as docket:
            docket.register(hop)
            async with Worker(docket, concurrency=_CONCURRENCY, minimum_check_interval=_CHECK) as worker:
                await worker.run_forever()

    asyncio.run(run())
