"""What kopf's watches hand on: one object at a time, cut down before kopf queues it, and never less than all there are.

kopf puts each event into a queue of its object's own and keeps it for a while after it was handled. Cut down there, one
object of the largest at a time is in memory, however many come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from kopf._cogs.clients import errors, fetching, watching  # kopf has no public name for them

from likeness_operator.kubernetes.cut import cut

logger = logging.getLogger(__name__)

OVERLOADED = (429, 500, 503, 504)
"""504 is what it says while what it has in memory is older than what it has stored."""
GONE = 410
ANEW_AFTER_SECONDS = 1.0
BEGIN_ANEW = {"type": "ERROR", "object": {"code": GONE}}
"""What the API server says where a watch cannot go on; kopf then begins with all there is."""


def cut_what_kopf_reads() -> None:
    """Puts ourselves between kopf and the API server's answers, for the rest of the process."""
    watching.watch_objs = _cut_events(watching.watch_objs)
    fetching.fetch_objs = _cut_pages(fetching.fetch_objs)


def _cut_events(watch_objs: Any) -> Any:
    """A watch that starts with what there is, and breaks before it has said all of it, begins anew. So does one that
    the API server ends because it is overloaded, or does not take up because it is too old.

    kopf 1.45.2 goes on from the last object's own version, and would never hear of those that were still to come; and
    it ends the process for any error but a 410 that comes in the watch.
    """

    async def cut_events(**call: Any) -> AsyncIterator[Any]:
        whole = call["since"] is not None or not call["settings"].watching.initial_streaming
        try:
            async for event in watch_objs(**call):
                if event["type"] == "ERROR" and event["object"].get("code") in OVERLOADED:
                    logger.warning("a watch begins anew: %s", event["object"].get("message"))
                    whole = False
                    break
                whole = whole or event["type"] == "BOOKMARK"
                event["object"] = cut(event["object"])  # in place: kopf holds the event, too, until the next one comes
                yield event
        except errors.APIError as error:
            if error.status != GONE:
                raise
            logger.info("a watch begins anew: %s", error.message)
            whole = False
        if not whole:
            await asyncio.sleep(ANEW_AFTER_SECONDS)
            yield BEGIN_ANEW

    return cut_events


def _cut_pages(fetch_objs: Any) -> Any:
    """For API servers that do not start a watch with what there is: lists, a page at a time."""

    async def cut_pages(**call: Any) -> AsyncIterator[Any]:
        async for items, version in fetch_objs(**call):
            items[:] = map(cut, items)
            yield items, version

    return cut_pages
