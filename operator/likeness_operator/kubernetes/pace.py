"""How fast we ask about the objects of one namespace, where these are large.

A megabyte costs the API server, and us, a hundred times what an ordinary answer does. A namespace that is full of such
objects waits for itself: there is a pause after each of them before the next request about that namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from likeness_operator.kubernetes.api_error import UnavailableError

LARGE_BYTES = 64 * 1024
"""An object up to this size counts for nothing: ordinary ones have a few kilobytes."""
BYTES_PER_SECOND = 2_000_000
LONGEST_TURN_SECONDS = 20.0
"""Whoever would wait for longer comes back later, and lets go of the worker meanwhile."""


class Pace:
    """For one event loop. `clock` counts seconds, and never jumps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._free_at: dict[str, float] = {}
        """When the next request about a namespace may be sent, where that is not now."""

    async def wait(self, namespace: str) -> None:
        """Waits for the turn of a request about a namespace; raises UnavailableError where that takes too long."""
        while (seconds := self._free_at.get(namespace, 0.0) - self._clock()) > 0:
            if seconds > LONGEST_TURN_SECONDS:
                raise UnavailableError(429, "LargeObjects", f"the objects of {namespace} are too large", seconds)
            await asyncio.sleep(seconds)
        self._free_at.pop(namespace, None)

    def got(self, namespace: str, answer_bytes: int, most_objects: int = 1) -> None:
        """Takes note of the size of an answer with up to so many objects. What is in no namespace costs no time."""
        if namespace and answer_bytes > LARGE_BYTES * most_objects:
            since = max(self._free_at.get(namespace, 0.0), self._clock())
            self._free_at[namespace] = since + answer_bytes / BYTES_PER_SECOND
