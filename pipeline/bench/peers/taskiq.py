"""taskiq on taskiq-redis' stream broker, the one of its brokers that acknowledges."""

import asyncio
from typing import Any

from redis.asyncio import Redis
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from pipeline.bench.peers.hop import jobs, put

_CONCURRENCY = 100


def _broker(url: str) -> tuple[Any, Any]:
    broker = RedisStreamBroker(url, consumer_id="0", xread_count=1000)
    client = Redis.from_url(url)

    async def hop(name: str, value: int) -> None:
        pipeline = client.pipeline(transaction=False)
        put(pipeline, name, value)
        await pipeline.execute()

    return broker, broker.register_task(hop, task_name="hop")


def fill(url: str, entries: int) -> None:
    async def run() -> None:
        broker, task = _broker(url)
        await broker.startup()
        rows = list(jobs(entries))
        for first in range(0, entries, _CONCURRENCY):
            await asyncio.gather(*(task.kiq(*row) for row in rows[first : first + _CONCURRENCY]))
        await broker.shutdown()

    asyncio.run(run())


def work(url: str) -> None:
    async def run() -> None:
        broker, _ = _broker(url)
        await run_receiver_task(
            broker, run_startup=True, max_async_tasks=_CONCURRENCY, max_prefetch=1000, validate_params=False
        )

    asyncio.run(run())
