"""FastStream on Redis streams, a batch a call: its handler's writes go in one round trip a batch, as ours do."""

import asyncio
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from pipeline.bench.peers.faststream import GROUP, STREAM, fill
from pipeline.bench.peers.hop import put

__all__ = ["fill", "work"]

_BATCH = 1000


def work(url: str) -> None:
    broker = RedisBroker(url, logger=None, apply_types=False)
    client = Redis.from_url(url)

    async def hop(messages: list[Any]) -> None:
        pipeline = client.pipeline(transaction=False)
        for message in messages:
            put(pipeline, *message)
        await pipeline.execute()

    read = StreamSub(STREAM, group=GROUP, consumer="one", batch=True, max_records=_BATCH, polling_interval=100)
    broker.subscriber(stream=read)(hop)
    asyncio.run(FastStream(broker, logger=None).run())
