"""`likeness-operator`: puts the parts together and runs them until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import TypeVar

import kopf
import prometheus_client

from likeness_operator import log, metrics
from likeness_operator.batch.lifecycle import PERSONALIZATION_BATCH, BatchLifecycle
from likeness_operator.batch.shard_ledgers import ShardLedgers
from likeness_operator.batch.shards_endpoint import shard_reports
from likeness_operator.engine.left_out import LeftOutObjects
from likeness_operator.engine.lifecycle import Stages
from likeness_operator.engine.reconciler import Reconciler
from likeness_operator.engine.vitals import Vitals
from likeness_operator.engine.watch import watch
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WORKERS, WorkQueue
from likeness_operator.engine.worker import resync, work
from likeness_operator.erasure.lifecycle import ErasureLifecycle
from likeness_operator.health import serve_probes
from likeness_operator.kubernetes.api_error import ApiError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.lease import Lease, LeaseLostError, LeaseName, leading
from likeness_operator.kubernetes.resource import OUR_API
from likeness_operator.kubernetes.token_bucket import TokenBucket
from likeness_operator.kubernetes.token_review import TokenReviews
from likeness_operator.personalization.lifecycle import PERSONALIZATION, TuningLifecycle
from likeness_operator.personalization.profiles import Profiles
from likeness_operator.personalization.progress import ProgressTracker
from likeness_operator.personalization.progress_endpoint import progress_reports
from likeness_operator.reports_server import serve_reports

logger = logging.getLogger(__name__)
T = TypeVar("T")

PROBE_AGAIN_SECONDS = 2.0
WATCHED_KINDS = (PERSONALIZATION, PERSONALIZATION_BATCH)
"""What is watched and reconciled."""
REQUESTS_PER_SECOND = 300
"""Enough for fifty new Personalizations a second: a life takes five requests."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    log.set_up(options.log_format)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig  # where kopf looks for it
    try:
        asyncio.run(run_operator(options))
    except asyncio.CancelledError:
        logger.info("stopped before there was anything to watch")
    except (kopf.LoginError, OSError) as error:
        logger.error("cannot start: %s", error)
        return 1
    except LeaseLostError as error:
        logger.error("stopping: %s", error)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    new = argparse.ArgumentParser(
        prog="likeness-operator", description="Runs Personalizations as Jobs and writes what became of them."
    )
    new.add_argument("--version", action="version", version=f"%(prog)s {version('likeness-tuner')}")
    new.add_argument(
        "--namespace",
        action="append",
        default=[],
        help="watch this namespace; may be given several times; the whole cluster where not given",
    )
    new.add_argument("--kubeconfig", help="kubeconfig file; the pod's service account where not given")
    new.add_argument(
        "--lease",
        type=lease_name,
        metavar="NAMESPACE/NAME",
        help="of several operators, the one that holds this Lease acts; without it there must be only one",
    )
    new.add_argument("--kueue", action="store_true", help="read Kueue's Workloads, to say what Kueue says about a wait")
    new.add_argument("--progress-port", type=int, default=0, help="for POST /progress by tuning pods; 0 for none")
    new.add_argument(
        "--progress-url", type=http_url, help="where this port is for them: pods report nothing without it"
    )
    new.add_argument("--log-format", choices=["json", "text"], default="json")
    new.add_argument("--probe-port", type=int, default=8080, help="for /livez, /readyz, /metrics; 0 for none")
    new.add_argument(
        "--workers",
        type=at_least_one,
        default=WORKERS,
        help="Personalizations reconciled at the same time, of one namespace half as many",
    )
    new.add_argument(
        "--qps",
        type=at_least_one,
        default=REQUESTS_PER_SECOND,
        help=f"requests a second to the API server, twice as many at once ({REQUESTS_PER_SECOND})",
    )
    return new


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small; expected 1 or more")
    return number


def http_url(text: str) -> str:
    if not text.startswith("http://"):
        raise argparse.ArgumentTypeError(f"{text} is no address for reports; expected http://HOST:PORT/progress")
    return text


def lease_name(text: str) -> LeaseName:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text} is no Lease; expected NAMESPACE/NAME")
    return LeaseName(namespace, name)


def log_in() -> kopf.ConnectionInfo:
    """A kubeconfig where one is named, else the pod's service account. Read anew each time: tokens are replaced."""
    chosen = kopf.OperatorSettings()
    from_file = kopf.login_with_kubeconfig(settings=chosen) if os.environ.get("KUBECONFIG") else None
    found = from_file or kopf.login_with_service_account(settings=chosen) or kopf.login_with_kubeconfig(settings=chosen)
    if found is None:
        raise kopf.LoginError("no API server: expected --kubeconfig, KUBECONFIG, ~/.kube/config or a service account")
    return found


async def run_operator(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Until kopf takes the signal over. As process 1 of a container we would not get it at all otherwise.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    # A session and a rate limit of its own: a long queue of requests must not cost the Lease.
    election = ApiServer(log_in, TokenBucket(10, 20, monotonic))
    lease = Lease(election, options.lease, identity, monotonic, utc_now) if options.lease else None
    bucket = TokenBucket(options.qps, 2 * options.qps, monotonic)
    api = ApiServer(log_in, bucket, may_write=lease.held if lease else lambda: True)
    ready = asyncio.Event()
    queue = WorkQueue(workers=options.workers)
    cache = WatchCache(queue, monotonic, {kind.resource.kind: kind for kind in WATCHED_KINDS})
    metrics.UNFINISHED.set_function(lambda: len(cache))
    metrics.QUEUE_DEPTH.set_function(lambda: len(queue))
    metrics.QUEUE_AGE_SECONDS.set_function(queue.oldest_wait_seconds)
    metrics.WATCH_LAG_SECONDS.set_function(cache.watch_lag_seconds)
    metrics.WAITING.set_function(cache.waiting)
    vitals = Vitals(queue, cache, monotonic, ready.is_set)
    try:
        async with serve_probes(options.probe_port, vitals):
            if lease is None:
                await act(api, vitals, ready, options)
            else:
                async with leading(lease, vitals.standing_by):
                    await act(api, vitals, ready, options)
    finally:
        await api.close()
        await election.close()


async def act(api: ApiServer, vitals: Vitals, ready: asyncio.Event, options: argparse.Namespace) -> None:
    """Watches and works until SIGTERM."""
    cache, queue, instance = vitals.cache, vitals.queue, socket.gethostname()
    profiles, tracker = Profiles(api, monotonic), ProgressTracker(cache, queue.add, monotonic)
    tuning = TuningLifecycle(
        api, profiles, cache.limiter, tracker, utc_now, kueue=options.kueue, progress_url=options.progress_url
    )
    erasure = ErasureLifecycle(api, profiles, instance, utc_now)
    batch_erasure = ErasureLifecycle(api, profiles, instance, utc_now, PERSONALIZATION_BATCH.most_parts)
    ledgers = ShardLedgers(cache, queue.add, monotonic, utc_now)
    metrics.BATCHES_WORKING.set_function(ledgers.working)
    metrics.BATCHES_BEHIND.set_function(ledgers.behind)
    metrics.BATCH_WORKERS.set_function(ledgers.busy_workers)
    metrics.BATCH_SUBJECTS_PER_HOUR.set_function(ledgers.subjects_per_hour)
    batch = BatchLifecycle(api, profiles, ledgers, utc_now, options.progress_url)
    stages = {
        PERSONALIZATION.resource.kind: Stages(PERSONALIZATION, live=tuning, terminating=erasure),
        PERSONALIZATION_BATCH.resource.kind: Stages(PERSONALIZATION_BATCH, live=batch, terminating=batch_erasure),
    }
    reconciler = Reconciler(api, cache, stages, instance, utc_now)
    left_out = LeftOutObjects(api, cache, {kind.resource.kind: kind for kind in WATCHED_KINDS}, instance, utc_now)
    stream_lists = await readable(api, options.namespace)
    # Whichever part ends by an error ends the process: the kubelet starts it anew, and nothing is lost.
    async with (
        serve_reports(
            options.progress_port, TokenReviews(api, monotonic), [progress_reports(tracker), shard_reports(ledgers)]
        ),
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(work(queue, cache, reconciler, vitals)) for _ in range(options.workers)]
        tasks.append(group.create_task(resync(queue, cache)))
        tasks.append(group.create_task(left_out.look_for_ever()))
        logger.info("watching %s", ", ".join(options.namespace) or "all namespaces")
        await watch(
            cache,
            WATCHED_KINDS,
            profiles.changed,
            log_in,
            namespaces=options.namespace,
            stream_lists=stream_lists,
            ready=ready,
        )
        logger.info("stopping")
        for background in tasks:
            background.cancel()


def utc_now() -> datetime:
    return datetime.now(UTC)


async def readable(api: ApiServer, namespaces: Sequence[str]) -> bool:
    """Waits until every kind can be listed: the CRDs may come after us, and kopf never looks for them again.

    Returns whether the API server starts a watch with what there is, so that nothing need be listed.
    """
    scopes = [f"namespaces/{namespace}/" for namespace in namespaces] or [""]
    lists: list[tuple[str, dict[str, str]]] = [(f"{OUR_API}/tuningprofiles", {})]
    for scope in scopes:
        # With the selector, which a CRD older than us does not know.
        lists += [
            (f"{OUR_API}/{scope}{kind.resource.plural}", {"fieldSelector": kind.field_selector})
            for kind in WATCHED_KINDS
        ]
        lists += [(f"/apis/batch/v1/{scope}jobs", {}), (f"/api/v1/{scope}pods", {})]
    for path, query in lists:
        await answered(path, partial(api.probe, path, **query))
    stream_lists = await answered("with a watch", api.streams_lists)
    if not stream_lists:
        logger.info("this API server starts no watch with what there is (WatchList): listing in pages")
    return stream_lists


async def answered(path: str, ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns once it raises no ApiError."""
    while True:
        try:
            return await ask()
        except ApiError as error:
            logger.warning("cannot list %s yet: %s; trying again in %.0f s", path, error, PROBE_AGAIN_SECONDS)
            await asyncio.sleep(PROBE_AGAIN_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
