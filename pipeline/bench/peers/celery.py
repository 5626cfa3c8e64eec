"""Celery on its Redis broker: lists, and a hash of what is not acknowledged yet."""

import itertools
from typing import Any

from celery import Celery
from redis import Redis

from pipeline.bench.peers.hop import jobs, put


def _app(url: str) -> tuple[Any, Any]:
    app = Celery("bench-hops", broker=url)
    app.conf.update(
        task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1000, worker_send_task_events=False,
        task_default_queue="bench-hops",
    )
    client = Redis.from_url(url)

    def hop(name: str, value: int) -> None:
        pipeline = client.pipeline(transaction=False)
        put(pipeline, name, value)
        pipeline.execute()

    return app, app.task(hop, name="hop")


def fill(url: str, entries: int) -> None:
    app, task = _app(url)
    with app.producer_pool.acquire(block=True) as producer:
        for row in itertools.islice(jobs(entries), entries):
            task.apply_async(row, producer=producer)


def work(url: str) -> None:
    app, _ = _app(url)
    # One process that does the tasks itself: with a pool, handing a task to another process costs more than the task.
    app.worker_main([
        "worker", "--pool=solo", "--without-heartbeat", "--without-gossip", "--without-mingle", "--loglevel=ERROR",
    ])
