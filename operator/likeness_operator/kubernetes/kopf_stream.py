"""What kopf's watches hand on: one object at a time, cut down before kopf queues it, and never less than all there are.

kopf puts each event into a queue of its object's own and keeps it for a while after it was handled. Cut down there, one
object of the largest at a time is in memory, however many come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from kopf._cogs.clients import fetching, watching  # kopf has no public name for them

from likeness_operator.kubernetes.cut import cut

BEGIN_ANEW = {"type": "ERROR", "object": {"code": 410}}
"""What the API server says where a watch cannot go on; kopf then begins with all there is."""


def cut_what_kopf_reads() -> None:
    """Puts ourselves between kopf and the API server's answers, for the rest of the process."""
    watching.watch_objs = _cut_events(watching.watch_objs)
    fetching.fetch_objs = _cut_pages(fetching.fetch_objs)


def _cut_events(watch_objs: Any) -> Any:
    """A watch that starts with what there is, and breaks before it has said all of it, begins anew.

    kopf 1.45.2 goes on from the last object's own version, and would never hear of those that were still to come.
    """

    async def cut_events(**call: Any) -> AsyncIterator[Any]:
        whole = call["since"] is not None or not call["settings"].watching.initial_streaming
        async for event in watch_objs(**call):
            whole = whole or event["type"] == "BOOKMARK"
            event["object"] = cut(event["object"])  # in place: kopf, too, holds the event while it waits for the next
            yield event
        if not whole:
            yield BEGIN_ANEW

    return cut_events


def _cut_pages(fetch_objs: Any) -> Any:
    """For API servers that do not start a watch with what there is: lists, a page at a time."""

    async def cut_pages(**call: Any) -> AsyncIterator[Any]:
        async for items, version in fetch_objs(**call):
            items[:] = map(cut, items)
            yield items, version

    return cut_pages
