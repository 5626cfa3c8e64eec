"""FastStream on Redis streams, a message a call, several calls at a time."""

import asyncio
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from pipeline.bench.peers.hop import jobs, put

STREAM, GROUP = "bench:hops:faststream", "hops"
_WORKERS = 10
_FILLED_AT_ONCE = 1000


def fill(url: str, entries: int) -> None:
    async def run() -> None:
        async with RedisBroker(url, logger=None) as broker, Redis.from_url(url) as client:
            await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            rows = list(jobs(entries))
            for first in range(0, entries, _FILLED_AT_ONCE):
                pipeline = client.pipeline(transaction=False)
                for row in rows[first : first + _FILLED_AT_ONCE]:
                    await broker.publish(row, stream=STREAM, pipeline=pipeline)
                await pipeline.execute()

    asyncio.run(run())


def work(url: str) -> None:
    broker = RedisBroker(url, logger=None, apply_types=False)
    client = Redis.from_url(url)

    async def hop(message: Any) -> None:
        pipeline = client.pipeline(transaction=False)
        put(pipeline, *message)
        await pipeline.execute()

    read = StreamSub(STREAM, group=GROUP, consumer="one", max_records=256, polling_interval=100)
    broker.subscriber(stream=read, max_workers=_WORKERS)(hop)
    asyncio.run(FastStream(broker, logger=None).run())
