"""kopf as the watch adapter: it lists and watches four kinds, and the store is told. Nothing else of kopf is used.

No finalizers, no annotations, no events of its own, no scanning: kopf writes nothing and needs no rights beyond
get, list and watch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import kopf

from likeness_api import GROUP, VERSION
from likeness_operator import label
from likeness_operator.nothing_kept import NoEssence, NoProgress
from likeness_operator.observed import Manifest
from likeness_operator.profiles import Profiles
from likeness_operator.store import Store

LIST_CHUNK = 500
"""Objects a page: at 100,000 objects half the memory of one big list."""
OUTAGE_BACKOFFS_SECONDS = (1, 2, 3, *[5] * 120)
"""Between kopf's attempts to watch: it gives up, and the process with it, after ten minutes without an API server."""

IDENTITY: Any = "likeness"
"""Used by kopf's peering, which is off. Without one kopf asks for the user's name, and a mere number has none; its own
type for this is not public."""


def settings() -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.persistence.diffbase_storage = NoEssence()
    chosen.persistence.progress_storage = NoProgress()
    chosen.watching.chunk_size = LIST_CHUNK
    chosen.networking.request_timeout = 60
    chosen.networking.error_backoffs = OUTAGE_BACKOFFS_SECONDS
    chosen.watching.label_selectors["batch", "v1", "jobs"] = label.OURS
    chosen.watching.label_selectors["", "v1", "pods"] = label.OURS
    return chosen


def registry(store: Store, profiles: Profiles, log_in: Callable[[], kopf.ConnectionInfo]) -> kopf.OperatorRegistry:
    """The handlers. They only remember and enqueue, so they cannot fail and kopf has nothing to retry."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return log_in()

    @kopf.on.event(GROUP, VERSION, "personalizations", registry=handlers)
    async def personalization(event: Any, **_: Any) -> None:
        store.saw_personalization(_object(event), event["type"])

    @kopf.on.event(GROUP, VERSION, "tuningprofiles", registry=handlers)
    async def profile(event: Any, **_: Any) -> None:
        profiles.changed()
        store.saw_profile(_object(event)["metadata"]["name"])

    @kopf.on.event("batch", "v1", "jobs", registry=handlers)
    async def job(event: Any, **_: Any) -> None:
        store.saw_job(_object(event), event["type"])

    @kopf.on.event("", "v1", "pods", registry=handlers)
    async def pod(event: Any, **_: Any) -> None:
        store.saw_pod(_object(event), event["type"])

    return handlers


async def watch(
    store: Store,
    profiles: Profiles,
    log_in: Callable[[], kopf.ConnectionInfo],
    namespaces: Sequence[str],
    ready: asyncio.Event,
) -> None:
    """Watches until SIGTERM or SIGINT. Without namespaces: the whole cluster."""
    await kopf.operator(
        identity=IDENTITY,
        registry=registry(store, profiles, log_in),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=ready,
    )
    # kopf leaves its streams to be closed with the event loop, where each one ends with a traceback about nothing.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _object(event: Any) -> Manifest:
    manifest: Manifest = event["object"]
    return manifest
