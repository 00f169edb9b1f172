"""What the watches told us, as little as is needed to know which Personalizations to look at and when."""

from __future__ import annotations

from collections.abc import Iterator

from likeness_operator import label
from likeness_operator.observed import Manifest, is_finished, true_conditions
from likeness_operator.work_queue import Key, WorkQueue


class Store:
    """The unfinished Personalizations. Finished ones are dropped as they are seen and cost nothing.

    Nothing is decided on what is in here, so an object that vanished unseen during a re-list does no harm:
    the pass over it finds it gone.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._profiles: dict[Key, str | None] = {}
        """The unfinished ones, each with the profile it names."""

    def __len__(self) -> int:
        return len(self._profiles)

    def keys(self) -> Iterator[Key]:
        return iter(tuple(self._profiles))

    def forget(self, key: Key) -> None:
        self._profiles.pop(key, None)

    def saw_personalization(self, manifest: Manifest, deleted: bool) -> None:
        key = Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if deleted or is_finished(manifest):
            self.forget(key)
            return
        self._profiles[key] = manifest.get("spec", {}).get("profile")
        self._queue.add(key)

    def saw_job(self, manifest: Manifest) -> None:
        """A Job that still runs is always looked at: its Personalization may have ended without it."""
        conditions = true_conditions(manifest)
        self._saw_owned(manifest, always="Complete" not in conditions and "Failed" not in conditions)

    def saw_pod(self, manifest: Manifest) -> None:
        self._saw_owned(manifest, always=False)

    def saw_profile(self, name: str) -> None:
        """Its Personalizations, and those that take the default, may have waited for this."""
        for key, wanted in self._profiles.items():
            if wanted in (None, name):
                self._queue.forgive(key)
                self._queue.add(key)

    def _saw_owned(self, manifest: Manifest, always: bool) -> None:
        name = manifest["metadata"].get("labels", {}).get(label.PERSONALIZATION)
        if name is None:
            return
        key = Key(manifest["metadata"]["namespace"], name)
        if always or key in self._profiles:
            self._queue.add(key)
