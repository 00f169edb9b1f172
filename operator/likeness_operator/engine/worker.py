"""Takes keys from the queue, has them reconciled, and says when to do so again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from time import monotonic

from likeness_operator import log, metrics
from likeness_operator.engine.key import Key
from likeness_operator.engine.reconciler import Reconciler, ReconcileResult, UndecidedError
from likeness_operator.engine.vitals import Vitals
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.api_error import AlreadyExistsError, ApiError, ConflictError, UnavailableError

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
"""In this time each object that is not done is read anew once, in case a watch missed something."""
RESYNC_LONGEST_RATE = 10.0
"""Keys a second: with very many objects each one's turn comes more seldom, instead of hurting the API server."""
MOST_IN_A_ROUND = round(RESYNC_SECONDS * RESYNC_LONGEST_RATE)
FIRST_REFUSAL_SECONDS = 5.0
"""A quota or a profile is put right by people, not within a second."""
OUTAGE_BACKOFF_SECONDS = 15.0
"""The longest back-off while the API server does not answer: when it does, nobody should wait for minutes."""


async def work(queue: WorkQueue, cache: WatchCache, reconciler: Reconciler, vitals: Vitals) -> None:
    """One of several workers. A reconciliation that fails unexpectedly is logged, counted and tried again."""
    while True:
        key = await queue.get()
        log.ABOUT.set(str(key))
        started = monotonic()
        task = asyncio.create_task(reconciler.reconcile(key), name=str(key))
        try:
            # Waiting for the task, unlike awaiting it, leaves even a bug's exception inside: one odd object
            # must not stop the work on all the others.
            await asyncio.wait({task})
            _requeue(key, task, queue, cache)
        finally:
            queue.done(key)
            vitals.reconciled()
            metrics.RECONCILE_SECONDS.observe(monotonic() - started)


def _requeue(key: Key, task: asyncio.Task[ReconcileResult], queue: WorkQueue, cache: WatchCache) -> None:
    """Decides when `key` is reconciled again."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        cache.invalidate(key)
    if error is None:
        metrics.RECONCILES.labels(outcome="done").inc()
        _requeue_after(key, task.result(), queue)
    elif isinstance(error, ConflictError | AlreadyExistsError):
        metrics.RECONCILES.labels(outcome="conflict").inc()
        queue.add_rate_limited(key)
    elif isinstance(error, UnavailableError):
        metrics.RECONCILES.labels(outcome="unavailable").inc()
        seconds = queue.add_rate_limited(key, error.retry_after_seconds, OUTAGE_BACKOFF_SECONDS)
        logger.warning("%s; trying again in %.1f s", error, seconds)
    elif isinstance(error, ApiError | UndecidedError):
        metrics.RECONCILES.labels(outcome="error").inc()
        seconds = queue.add_rate_limited(key)
        logger.error("%s; trying again in %.1f s", error, seconds)
    else:
        metrics.RECONCILES.labels(outcome="bug").inc()
        seconds = queue.add_rate_limited(key)
        logger.error("a bug; trying again in %.1f s", seconds, exc_info=error)


def _requeue_after(key: Key, result: ReconcileResult, queue: WorkQueue) -> None:
    if result.done:
        queue.forget(key)
    elif result.refused:
        queue.add_rate_limited(key, FIRST_REFUSAL_SECONDS)
    else:
        queue.forget(key)
        if result.requeue_after_seconds is not None:
            queue.add_after(key, result.requeue_after_seconds)


async def resync(queue: WorkQueue, cache: WatchCache) -> None:
    """Goes round the objects that are not done for ever, evenly spread.

    Where there are more than a round takes, a round takes those of small namespaces, and the next ones of large ones.
    """
    while True:
        keys = list(islice(in_turn(cache.keys()), MOST_IN_A_ROUND))
        pause = max(RESYNC_SECONDS / max(len(keys), 1), 1 / RESYNC_LONGEST_RATE)
        for key in keys:
            await asyncio.sleep(pause)
            cache.invalidate(key)
            cache.postpone(key)
            queue.add(key)
        if not keys:
            await asyncio.sleep(RESYNC_SECONDS)


def in_turn(keys: Iterable[Key]) -> Iterator[Key]:
    """One of each namespace, then the next of each, in their order."""
    lines: dict[str, deque[Key]] = {}
    for key in keys:
        lines.setdefault(key.namespace, deque()).append(key)
    while lines:
        for namespace, line in list(lines.items()):
            yield line.popleft()
            if not line:
                del lines[namespace]
