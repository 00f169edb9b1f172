"""What the watches told us, as little as is needed to know which Personalizations to look at and when."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from likeness_operator import label
from likeness_operator.observed import Manifest, is_finished, read_job, read_pod
from likeness_operator.work_queue import Key, WorkQueue

REPLACE_SECONDS = 1.0
"""Until a Job that was deleted is replaced: who deletes Jobs in a loop must not make us create them in a loop."""
GATHER_SECONDS = 0.1
"""Jobs and pods change several times in a moment; one look afterwards is enough."""


@dataclass
class Known:
    """An unfinished Personalization: the profile it names, the version we wrote last, what is known of its objects."""

    profile: str | None = None
    written: str = ""
    facts: dict[str, int] = field(default_factory=dict)
    """By uid of a Job or pod, a hash of all that the rules read of it."""


class Store:
    """The unfinished Personalizations. Finished ones are dropped as they are seen and cost nothing.

    Nothing is decided on what is in here, so an object that vanished unseen during a re-list does no harm:
    the pass over it finds it gone.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._known: dict[Key, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def keys(self) -> Iterator[Key]:
        return iter(tuple(self._known))

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)

    def wrote(self, key: Key, resource_version: str) -> None:
        """The watch is about to tell us of our own write; that is no reason to look."""
        if key in self._known:
            self._known[key].written = resource_version

    def saw_personalization(self, manifest: Manifest, deleted: bool) -> None:
        metadata = manifest["metadata"]
        key = Key(metadata["namespace"], metadata["name"])
        if deleted or is_finished(manifest):
            self.forget(key)
            return
        known = self._known.setdefault(key, Known())
        known.profile = manifest.get("spec", {}).get("profile")
        if known.written != metadata["resourceVersion"]:
            self._queue.add(key)

    def saw_job(self, manifest: Manifest, deleted: bool) -> None:
        """A Job that still runs is always looked at: its Personalization may have ended without it."""
        job = read_job(manifest)
        facts = (job.deleting, job.suspended, job.succeeded, job.failure_reason, job.ended)
        key = _owner(manifest)
        if key in self._known:
            self._saw_part(key, job.uid, facts, deleted, REPLACE_SECONDS if deleted else GATHER_SECONDS)
        elif key and not deleted and not job.ended:
            self._queue.add_later(key, GATHER_SECONDS)

    def saw_pod(self, manifest: Manifest, deleted: bool) -> None:
        key = _owner(manifest)
        if key in self._known:
            self._saw_part(key, manifest["metadata"]["uid"], read_pod(manifest), deleted, GATHER_SECONDS)

    def saw_profile(self, name: str) -> None:
        """Its Personalizations, and those that take the default, may have waited for this."""
        for key, known in self._known.items():
            if known.profile in (None, name):
                self._queue.forgive(key)
                self._queue.add(key)

    def _saw_part(self, key: Key, uid: str, facts: Hashable, deleted: bool, seconds: float) -> None:
        """Looks at `key` where something changed that the rules read."""
        known = self._known[key].facts
        if deleted:
            known.pop(uid, None)
        elif known.get(uid) == hash(facts):
            return
        else:
            known[uid] = hash(facts)
        self._queue.add_later(key, seconds)


def _owner(manifest: Manifest) -> Key | None:
    """The Personalization that a Job or pod is labelled with."""
    metadata = manifest["metadata"]
    name = metadata.get("labels", {}).get(label.PERSONALIZATION)
    return Key(metadata["namespace"], name) if name else None
