"""arq: job ids in a sorted set, a key a job."""

import asyncio
from typing import Any

from arq import Worker, create_pool
from arq.connections import RedisSettings

from pipeline.bench.peers.hop import jobs, put

_JOBS = 100


async def hop(context: dict[str, Any], name: str, value: int) -> None:
    pipeline = context["redis"].pipeline(transaction=False)
    put(pipeline, name, value)
    await pipeline.execute()


def fill(url: str, entries: int) -> None:
    async def run() -> None:
        pool = await create_pool(RedisSettings.from_dsn(url))
        rows = list(jobs(entries))
        for first in range(0, entries, _JOBS):
            await asyncio.gather(*(pool.enqueue_job("hop", *row) for row in rows[first : first + _JOBS]))

    asyncio.run(run())


def work(url: str) -> None:
    async def run() -> None:
        worker = Worker(
            [hop], redis_settings=RedisSettings.from_dsn(url), max_jobs=_JOBS, queue_read_limit=1000,
            poll_delay=0.001, keep_result=0, log_results=False,
        )
        await worker.async_run()

    asyncio.run(run())
