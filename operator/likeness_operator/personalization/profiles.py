"""The TuningProfiles, read seldom: a burst of Personalizations names the same one again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from likeness_api.accept import Refusal
from likeness_api.audience import selects
from likeness_api.reason import Reason
from likeness_operator.kubernetes.api_error import NotFoundError, RefusedError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.profile import Profile, candidates, only_one

PROFILE_KEPT_SECONDS = 5.0
"""In case a watch missed that one was changed or deleted."""
LABELS_KEPT_SECONDS = 30.0
"""Of a namespace, which no watch tells of."""
REFUSING_LABELS_KEPT_SECONDS = 2.0
"""Whoever is refused will not be looked at again for minutes, so the label that was just added must not be missed."""
MOST_KEPT_NAMESPACES = 1000


class Profiles:
    """Keeps a profile that was found for a moment, and a refusal not at all: who waits for one is reconciled seldom."""

    def __init__(self, api: ApiServer, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._kept: dict[str | None, tuple[float, list[Profile]]] = {}
        self._labels: dict[str, tuple[float, Mapping[str, str]]] = {}

    def changed(self) -> None:
        """Forgets all of them: where one has changed, the default may be another one, too."""
        self._kept.clear()

    async def choose(self, wanted: str | None, namespace: str | None) -> Profile | Refusal:
        """The profile called `wanted`, or the default one, if it admits the namespace; None asks nobody's leave.

        Raises the errors of api_error.py.
        """
        found = await self._candidates(wanted)
        if isinstance(found, Refusal) or namespace is None:
            return found if isinstance(found, Refusal) else only_one(found)
        why_not = [await self._why_not(profile, namespace) for profile in found]
        admitted = [profile for profile, why in zip(found, why_not, strict=True) if why is None]
        if admitted:
            return only_one(admitted)
        return Refusal(Reason.PROFILE_NOT_ALLOWED, "; ".join(why for why in why_not if why))

    async def _candidates(self, wanted: str | None) -> list[Profile] | Refusal:
        until, profiles = self._kept.get(wanted, (0.0, []))
        if profiles and self._clock() < until:
            return profiles
        found = candidates(wanted, await self._read(wanted))
        if not isinstance(found, Refusal):
            self._kept[wanted] = (self._clock() + PROFILE_KEPT_SECONDS, found)
        return found

    async def _read(self, wanted: str | None) -> list[K8sObject]:
        if wanted is None:
            return await self._api.profiles()
        try:
            return [await self._api.profile(wanted)]
        except NotFoundError:
            return []

    async def _why_not(self, profile: Profile, namespace: str) -> str | None:
        """Why a profile does not admit a namespace; None where it does. Labels are asked for only where they matter."""
        allowed = profile.spec.allowed_namespaces
        if allowed is None or namespace in allowed.names:
            return None
        refused = f"TuningProfile {profile.name} does not admit namespace {namespace}"
        if allowed.selector is None:
            return f"{refused}: it is not among allowedNamespaces.names"
        try:
            for most_seconds in (LABELS_KEPT_SECONDS, REFUSING_LABELS_KEPT_SECONDS):
                if selects(allowed.selector, await self._labels_of(namespace, most_seconds)):
                    return None
        except RefusedError as error:
            return f"{refused}: the operator cannot read the namespace's labels ({error.message}); expected `get` on it"
        return f"{refused}: allowedNamespaces selects it by no label"

    async def _labels_of(self, namespace: str, most_seconds: float) -> Mapping[str, str]:
        """As they were so many seconds ago at most."""
        read_at, labels = self._labels.get(namespace, (-math.inf, {}))
        if self._clock() < read_at + most_seconds:
            return labels
        labels = await self._api.namespace_labels(namespace)
        self._labels.pop(namespace, None)
        self._labels[namespace] = (self._clock(), labels)
        if len(self._labels) > MOST_KEPT_NAMESPACES:
            del self._labels[next(iter(self._labels))]
        return labels
