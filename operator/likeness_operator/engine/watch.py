"""kopf as the watch adapter: it lists and watches our kinds, profiles, Jobs and pods, and hands them to the cache.

No finalizers, no annotations, no events of its own, no scanning: kopf writes nothing and needs no rights beyond
get, list and watch. What is used of it, and why:

    watching      OperatorRegistry, on.event, OperatorSettings, spawn_tasks, run_tasks: watches that start with what
                  there is (or a list in pages, where the API server cannot), and are taken up again after an outage
    credentials   on.login, ConnectionInfo, login_with_kubeconfig, login_with_service_account, LoginError: kubeconfigs
                  and service accounts, read anew when a token expires; our own calls (api_server.py) take them, too
    nothing kept  DiffBaseStorage, ProgressStorage: the public way to have kopf store nothing (kopf_storage.py)
    not public    ResourceMemories, which has no public name: without ours, kopf keeps a kilobyte of each Job and pod
                  watch_objs, fetch_objs: where objects are cut down before kopf holds them (kopf_stream.py)

Hence pyproject.toml holds kopf to a minor version. Should ResourceMemories go, kopf's own work as well, for that much
memory; should the others go, a flood of large objects takes what memory there is (a test says whether they are there);
should kopf go, what replaces it is a list and a watch of each kind on the session of api_server.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import kopf

from likeness_api import GROUP, VERSION
from likeness_operator.engine.lifecycle import WatchedKind
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.kopf_storage import NoEssence, NoMemories, NoProgress
from likeness_operator.kubernetes.kopf_stream import cut_what_kopf_reads

logger = logging.getLogger(__name__)

LIST_CHUNK = 10
"""Objects a page, where the API server does not start a watch with what there is. A page takes many times its size, and
each object may have more than a megabyte."""
IDLE_SECONDS = 0.25
"""How long kopf keeps a task for an object after its last event. With its own five seconds a start has one for nearly
each; with less, the few events of one object in a burst take a task each."""
STOP_SECONDS = 8.0
"""kopf itself gives its handlers five."""
LEAVE_SECONDS = 3.0
OUTAGE_BACKOFFS_SECONDS = (1, 2, 3, *[5] * 120)
"""Between kopf's attempts to watch: it gives up, and the process with it, after ten minutes without an API server."""

IDENTITY: Any = "likeness"
"""Used by kopf's peering, which is off. Without one kopf asks for the user's name, and a mere number has none; its own
type for this is not public."""


def kopf_settings(kinds: Iterable[WatchedKind], *, stream_lists: bool) -> kopf.OperatorSettings:
    """kopf as a watch adapter: nothing posted, scanned or stored, and only what may concern us selected."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.persistence.diffbase_storage = NoEssence()
    chosen.persistence.progress_storage = NoProgress()
    chosen.watching.initial_streaming = stream_lists
    chosen.watching.chunk_size = LIST_CHUNK
    chosen.queueing.idle_timeout = IDLE_SECONDS
    chosen.networking.request_timeout = 60
    chosen.networking.error_backoffs = OUTAGE_BACKOFFS_SECONDS
    chosen.watching.label_selectors["batch", "v1", "jobs"] = label.OURS
    chosen.watching.label_selectors["", "v1", "pods"] = label.OURS
    for kind in kinds:
        if kind.field_selector:
            chosen.watching.field_selectors[GROUP, VERSION, kind.resource.plural] = kind.field_selector
    return chosen


def registry(
    cache: WatchCache,
    kinds: Iterable[WatchedKind],
    profile_changed: Callable[[], None],
    log_in: Callable[[], kopf.ConnectionInfo],
) -> kopf.OperatorRegistry:
    """The handlers. They only keep and enqueue, so they cannot fail and kopf has nothing to retry."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return log_in()

    def watch_kind(kind: str, plural: str) -> None:
        @kopf.on.event(GROUP, VERSION, plural, registry=handlers)
        async def ours(event: Any, **_: Any) -> None:
            cache.saw_object(kind, _object(event), event["type"])

    for each in kinds:
        watch_kind(each.resource.kind, each.resource.plural)

    @kopf.on.event(GROUP, VERSION, "tuningprofiles", registry=handlers)
    async def profile(event: Any, **_: Any) -> None:
        profile_changed()
        cache.saw_profile(_object(event)["metadata"]["name"])

    @kopf.on.event("batch", "v1", "jobs", registry=handlers)
    async def job(event: Any, **_: Any) -> None:
        cache.saw_job(_object(event), event["type"])

    @kopf.on.event("", "v1", "pods", registry=handlers)
    async def pod(event: Any, **_: Any) -> None:
        cache.saw_pod(_object(event), event["type"])

    return handlers


async def watch(
    cache: WatchCache,
    kinds: Sequence[WatchedKind],
    profile_changed: Callable[[], None],
    log_in: Callable[[], kopf.ConnectionInfo],
    *,
    namespaces: Sequence[str],
    stream_lists: bool,
    ready: asyncio.Event,
) -> None:
    """Watches until SIGTERM or SIGINT. Without namespaces: the whole cluster. `stream_lists`: as the API server can.

    An error that kopf does not get over (a list that expired, say) is raised here, so that the process ends.
    """
    ours = asyncio.all_tasks()
    cut_what_kopf_reads()
    tasks = await kopf.spawn_tasks(
        identity=IDENTITY,
        registry=registry(cache, kinds, profile_changed, log_in),
        settings=kopf_settings(kinds, stream_lists=stream_lists),
        memories=NoMemories(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=ready,
    )
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=ours), name="kopf")
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        running.cancel()
        raise
    finally:
        stopped = await _stopped(running, next((task for task in tasks if task.done()), None))
    if stopped:
        await running
    # kopf leaves its streams to be closed with the event loop, where each one ends with a traceback about nothing.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


async def _stopped(running: asyncio.Task[None], first: asyncio.Task[None] | None) -> bool:
    """Waits until kopf has stopped, but not for ever: an operator that neither watches nor ends would look alive.

    When one of kopf's watches ends by an error, the others may wait for each other, deaf to being cancelled.
    """
    await asyncio.wait({running}, timeout=STOP_SECONDS)
    if running.done():
        return True
    error = first.exception() if first and not first.cancelled() else None
    logger.error("the watches ended (%s) and kopf does not stop; leaving without it", error or "as asked")
    # asyncio.run would wait for those tasks, too. Until then there is time to give up the Lease.
    leave = threading.Timer(LEAVE_SECONDS, os._exit, (1,))
    leave.daemon = True
    leave.start()
    if error is not None:
        raise error
    return False


def _object(event: Any) -> K8sObject:
    manifest: K8sObject = event["object"]
    return manifest
