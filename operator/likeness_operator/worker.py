"""Takes keys from the queue, has the controller look at them, and says when to look again."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from likeness_operator import log, metrics
from likeness_operator.api_error import AlreadyExistsError, ApiError, ConflictError, UnavailableError
from likeness_operator.controller import Controller, Pass, UndecidedError
from likeness_operator.store import Store
from likeness_operator.vitals import Vitals
from likeness_operator.work_queue import Key, WorkQueue

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
"""In this time each unfinished Personalization is asked for once more, in case a watch missed something."""
RESYNC_LONGEST_RATE = 10.0
"""Keys a second: with very many unfinished ones the round takes longer instead of hurting the API server."""
FIRST_REFUSAL_SECONDS = 5.0
"""A quota or a profile is put right by people, not within a second."""
OUTAGE_BACKOFF_SECONDS = 15.0
"""At most, while the API server does not answer: when it does, nobody should wait for minutes."""


async def work(queue: WorkQueue, store: Store, controller: Controller, vitals: Vitals) -> None:
    """One of several workers. A pass that fails unexpectedly is logged, counted and tried again like any other."""
    while True:
        key = await queue.take()
        log.ABOUT.set(str(key))
        metrics.QUEUE_DEPTH.set(len(queue))
        started = monotonic()
        task = asyncio.create_task(controller.look_at(key), name=str(key))
        try:
            # Waiting for the task, unlike awaiting it, leaves even a bug's exception inside: one odd object
            # must not stop the work on all the others.
            await asyncio.wait({task})
            _settle(key, task, queue, store)
        finally:
            queue.done(key)
            vitals.ended_a_pass()
            metrics.RECONCILE_SECONDS.observe(monotonic() - started)
            metrics.UNFINISHED.set(len(store))


def _settle(key: Key, task: asyncio.Task[Pass], queue: WorkQueue, store: Store) -> None:
    """Decides when `key` is looked at again."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        store.distrust(key)
    if error is None:
        metrics.RECONCILES.labels(outcome="done").inc()
        _after(key, task.result(), queue)
    elif isinstance(error, ConflictError | AlreadyExistsError):
        metrics.RECONCILES.labels(outcome="conflict").inc()
        queue.retry(key)
    elif isinstance(error, UnavailableError):
        metrics.RECONCILES.labels(outcome="unavailable").inc()
        seconds = queue.retry(key, error.retry_after_seconds, OUTAGE_BACKOFF_SECONDS)
        logger.warning("%s; trying again in %.1f s", error, seconds)
    elif isinstance(error, ApiError | UndecidedError):
        metrics.RECONCILES.labels(outcome="error").inc()
        seconds = queue.retry(key)
        logger.error("%s; trying again in %.1f s", error, seconds)
    else:
        metrics.RECONCILES.labels(outcome="bug").inc()
        seconds = queue.retry(key)
        logger.error("a bug; trying again in %.1f s", seconds, exc_info=error)


def _after(key: Key, done: Pass, queue: WorkQueue) -> None:
    if done.finished:
        queue.forgive(key)
    elif done.refused:
        queue.retry(key, FIRST_REFUSAL_SECONDS)
    else:
        queue.forgive(key)
        if done.look_again_seconds is not None:
            queue.add_later(key, done.look_again_seconds)


async def resync(queue: WorkQueue, store: Store) -> None:
    """Goes round the unfinished Personalizations for ever, evenly spread."""
    while True:
        keys = list(store.keys())
        pause = max(RESYNC_SECONDS / max(len(keys), 1), 1 / RESYNC_LONGEST_RATE)
        for key in keys:
            await asyncio.sleep(pause)
            store.distrust(key)
            queue.add(key)
        if not keys:
            await asyncio.sleep(RESYNC_SECONDS)
