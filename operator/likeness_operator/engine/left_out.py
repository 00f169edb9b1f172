"""Objects that the watch cache has no room for: they wait in the API server, it is said, and they are taken up in time.

Nothing of them is kept but that there are some in a namespace. What a restart forgets of that, its list finds again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from likeness_api.reason import Reason
from likeness_operator import metrics
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import WatchedKind
from likeness_operator.engine.watch_cache import LeftOut, WatchCache
from likeness_operator.kubernetes.api_error import AlreadyExistsError, ApiError, NotFoundError, RefusedError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.event import EventContent, ObjectReference, build_event

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks at a namespace: a look lists all the names in it."""
EVENT = EventContent(
    "Warning",
    Reason.TOO_MANY_OBJECTS,
    "TakeUp",
    "this namespace has more unfinished objects than its fair share of the operator: this one, and maybe others, wait"
    " until some of them end or are deleted",
)


class LeftOutObjects:
    """Says of which namespaces objects were left out, and takes them up. `instance` is who events say reports them."""

    def __init__(
        self,
        api: ApiServer,
        cache: WatchCache,
        kinds: Mapping[str, WatchedKind],
        instance: str,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cache = cache
        self._kinds = kinds
        self._instance = instance
        self._now = now
        self._told: set[tuple[str, str]] = set()
        """Kinds and namespaces that are known to have some."""

    async def look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Takes up what there is room for, namespace by namespace. What an error leaves is taken up by a later look."""
        for some in self._cache.left_out():
            try:
                await self._tell(some)
                await self._take_up(some)
            except ApiError as error:
                self._cache.leave_out(some)
                logger.warning("left out in %s: %s; trying again in %.0f s", some.key.namespace, error, LOOK_SECONDS)
        left = {(some.key.kind, some.key.namespace) for some in self._cache.left_out()}
        for _, namespace in self._told - left:
            logger.info("in %s nothing is left out any more", namespace)
        self._told &= left
        metrics.NAMESPACES_LEFT_OUT.set(len(left))

    async def _take_up(self, some: LeftOut) -> None:
        """What is left out while this goes on is noticed by the cache, as at any other time."""
        key = some.key
        if not self._cache.admit(key):
            return
        kind = self._kinds[key.kind]
        async for name in self._api.names(kind.resource, key.namespace, kind.field_selector):
            if self._cache.uid(Key(key.kind, key.namespace, name)) is not None:
                continue
            try:
                manifest = await self._api.get(kind.resource, key.namespace, name)
            except NotFoundError:
                continue
            self._cache.saw_object(key.kind, manifest, None)
            if any(other.key.namespace == key.namespace for other in self._cache.left_out()):
                return

    async def _tell(self, some: LeftOut) -> None:
        """Once for a namespace, until all of its objects have been taken up: one line, and one event."""
        key = some.key
        if (key.kind, key.namespace) in self._told:
            return
        logger.warning(
            "%s has more unfinished objects than its share: %s and maybe others wait", key.namespace, key.name
        )
        about = ObjectReference(key.kind, key.namespace, key.name, some.uid, some.version)
        try:
            await self._api.create_event(build_event(about, EVENT, self._instance, self._now()))
        except (AlreadyExistsError, RefusedError) as error:
            logger.info("event not created: %s", error)
        self._told.add((key.kind, key.namespace))
