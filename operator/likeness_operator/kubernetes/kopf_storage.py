"""What kopf would keep of each object between two events, had we handlers that need it: nothing.

Its own storages copy every object several times for each event, to find out whether something essential changed. That
was half of the operator's CPU time in a burst, for an answer that nobody asks for: our handlers take every event.
"""

from __future__ import annotations

from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # kopf has no public name for them


class NoMemories(ResourceMemories):
    """kopf's own keep a kilobyte for each object while it is there, and Jobs and pods outlive their use by a day."""

    async def recall(self, raw_body: kopf.RawBody, **about: Any) -> ResourceMemory:
        return await super().recall(raw_body, **about | {"ephemeral": True})


class NoEssence(kopf.DiffBaseStorage):
    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


class NoProgress(kopf.ProgressStorage):
    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
