"""The TuningProfiles, read seldom: a burst of Personalizations names the same one again and again."""

from __future__ import annotations

from collections.abc import Callable

from likeness_api.accept import Refusal
from likeness_operator.kubernetes.api_error import NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.personalization.profile import Profile, choose_profile

PROFILE_KEPT_SECONDS = 5.0
"""In case a watch missed that one was changed or deleted."""


class Profiles:
    """Keeps a profile that was found for a moment, and a refusal not at all: who waits for one is reconciled seldom."""

    def __init__(self, api: ApiServer, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._kept: dict[str | None, tuple[float, Profile]] = {}

    def changed(self) -> None:
        """Forgets all of them: where one has changed, the default may be another one, too."""
        self._kept.clear()

    async def choose(self, wanted: str | None) -> Profile | Refusal:
        """The profile called `wanted`, or the default one. Raises the errors of api_error.py."""
        until, profile = self._kept.get(wanted, (0.0, None))
        if profile is not None and self._clock() < until:
            return profile
        found = await self._find(wanted)
        if isinstance(found, Profile):
            self._kept[wanted] = (self._clock() + PROFILE_KEPT_SECONDS, found)
        return found

    async def _find(self, wanted: str | None) -> Profile | Refusal:
        if wanted is None:
            return choose_profile(None, await self._api.profiles())
        try:
            return choose_profile(wanted, [await self._api.profile(wanted)])
        except NotFoundError:
            return choose_profile(wanted, [])
