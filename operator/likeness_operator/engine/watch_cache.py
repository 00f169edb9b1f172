"""What the watches have reported of the objects that are not done, so that most reconciliations read nothing.

All that is kept here is bounded, and shared fairly among namespaces (fair_share.py). Where there is no room for all
that is known of an object, only its name is kept, and its reconciliations read it from the API server. Where there is
none for its name, it is left out until there is (left_out.py).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from likeness_operator.engine.cache_entry import CacheEntry, Part, is_later, keep_newest
from likeness_operator.engine.concurrency_limiter import ConcurrencyLimiter
from likeness_operator.engine.fair_share import FairShare
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Snapshot, WatchedKind
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import Pod, read_pod

REPLACE_SECONDS = 1.0
"""Until a Job that was deleted is replaced: who deletes Jobs in a loop must not make us create them in a loop."""
GATHER_SECONDS = 0.1
"""Jobs and pods change several times in a moment; one reconciliation afterwards is enough."""
MOST_OBJECTS = 20_000
"""Objects that are not done, a kilobyte each; one namespace alone may have half of them."""
MOST_BYTES = 32_000_000
"""What is kept of them beside that: a few kilobytes each, a hundred at most."""
MOST_UNOWNED_JOBS = 2_000
MOST_STRANGERS = 1_000
"""Keys of a namespace in the queue, above which a Job of no object that is kept here is passed over."""
MOST_UNCONFIRMED = 10_000
MOST_VERSIONS = 10_000
"""Namespaces of which the newest version is kept."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One of the objects of its namespace that are left out."""

    key: Key
    uid: str
    version: str


class WatchCache:
    """The objects that are not done. All others are dropped as they are seen and cost nothing.

    Watches may be late, and what vanishes while one is broken is never reported. So the cache only answers about an
    object that it has seen from the beginning (the watch announced it as new) or that a reconciliation has put here
    after it read it anew; `invalidate` ends that. Resync invalidates each one in turn, so that no ghost lives for long.
    """

    def __init__(self, queue: WorkQueue, clock: Callable[[], float], kinds: Mapping[str, WatchedKind]) -> None:
        self._queue = queue
        self._clock = clock
        self._kinds = kinds
        self.limiter = ConcurrencyLimiter(queue.add)
        self.on_drop: list[Callable[[Key], None]] = []
        """Called with each key that is dropped."""
        self._entries: OrderedDict[Key, CacheEntry] = OrderedDict()
        self._objects, self._bytes = FairShare(MOST_OBJECTS), FairShare(MOST_BYTES)
        self._left_out: dict[tuple[str, str], LeftOut] = {}
        """By kind and namespace: the first that was left out."""
        self._unowned_jobs: dict[Key, Job] = {}
        """Jobs that work for an object that does not control them. One may outlive its object, if somebody took the
        finalizer off."""
        self._unowned = FairShare(MOST_UNOWNED_JOBS)
        self._unconfirmed_writes: dict[Key, tuple[str, float]] = {}
        """The first version written of those that the watch has not reported yet, and when it was written."""
        self._newest_versions: dict[tuple[str, str], str] = {}
        """The newest version that the watch has reported, by kind and namespace: each has a stream of its own, or all
        namespaces have one."""

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> Iterator[Key]:
        return iter(tuple(self._entries))

    def postpone(self, key: Key) -> None:
        """Puts an object behind all others in `keys`."""
        if key in self._entries:
            self._entries.move_to_end(key)

    def left_out(self) -> tuple[LeftOut, ...]:
        """One object of each kind and namespace of which some were left out, for want of room."""
        return tuple(self._left_out.values())

    def admit(self, key: Key) -> bool:
        """Whether there is room for one more object of the namespace. Takes back that some of them are left out."""
        if not self._objects.take(key.namespace):
            return False
        self._objects.give_back(key.namespace)
        self._left_out.pop((key.kind, key.namespace), None)
        return True

    def leave_out(self, left_out: LeftOut) -> None:
        """Takes note that an object, and maybe others of its namespace, are still to be taken up."""
        self._left_out.setdefault((left_out.key.kind, left_out.key.namespace), left_out)

    def waiting(self) -> Counter[str]:
        """How many objects wait for each reason."""
        return Counter(entry.waiting for entry in self._entries.values() if entry.waiting is not None)

    def watch_lag_seconds(self) -> float:
        """For how long the watch has not reported a write of our own. It grows while a watch stalls.

        A watch reports in order. So what is older than what it has reported will not be reported any more: it broke,
        and when it began anew, an object that is unwatched was left out.
        """
        for key, (version, written_at) in list(self._unconfirmed_writes.items()):
            if is_later(version, self._newest_version(key)):
                return self._clock() - written_at
            del self._unconfirmed_writes[key]
        return 0.0

    def wrote(self, key: Key, version: str) -> None:
        """Takes note of a status that was written; the watch will report it, if it has not already."""
        if is_later(version, self._newest_version(key)) and len(self._unconfirmed_writes) < MOST_UNCONFIRMED:
            self._unconfirmed_writes.setdefault(key, (version, self._clock()))

    def get(self, key: Key) -> Snapshot | None:
        """The object as the watches have reported it; None where that is not all there is."""
        entry = self._entries.get(key)
        if entry is None or not entry.complete:
            return None
        return entry.snapshot()

    def put(self, key: Key, snapshot: Snapshot, losses: int, *, complete: bool) -> None:
        """Takes over what a reconciliation has read and written, where no watch has reported anything newer.

        `complete`: it is all there was by the API server's word. What was lost since (`losses` is what the method of
        that name said before) may still be in it; then the next one has to read it again.
        """
        entry = self._entries.get(key)
        if entry is None or entry.uid != snapshot.manifest["metadata"]["uid"]:
            return
        if self._kinds[key.kind].is_done(snapshot.manifest):
            self.drop(key)
            return
        entry.keep(snapshot.manifest, self._kinds[key.kind].profile_name(snapshot.manifest))
        for job in snapshot.jobs:
            keep_newest(entry.jobs, job)
        for pod in snapshot.pods:
            keep_newest(entry.pods, pod)
        entry.complete = (entry.complete or complete) and entry.losses == losses and bool(entry.manifest)
        self._bound(key, entry)

    def invalidate(self, key: Key) -> None:
        """Has the next reconciliation read all there is from the API server."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.complete = False
            entry.jobs.clear()
            entry.pods.clear()
            self._bound(key, entry)

    def drop(self, key: Key) -> None:
        """Keeps nothing of an object any more."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._objects.give_back(key.namespace)
            self._bytes.give_back(key.namespace, entry.bytes_taken)
        self.limiter.cancel(key)
        for listener in self.on_drop:
            listener(key)

    def losses(self, key: Key) -> int:
        """How many Jobs and pods of an object were seen to go: `put` takes the number from before anything was read."""
        return self._entries[key].losses if key in self._entries else 0

    def uid(self, key: Key) -> str | None:
        """The uid of an object; None where it is not kept."""
        return self._entries[key].uid if key in self._entries else None

    def job(self, key: Key, uid: str | None) -> Job | None:
        """The object's Job with that uid, if a watch has reported it."""
        return self._entries[key].jobs.get(uid or "") if key in self._entries else None

    def jobs(self, key: Key) -> tuple[Job, ...]:
        """The object's Jobs that a watch has reported."""
        return tuple(self._entries[key].jobs.values()) if key in self._entries else ()

    def pod(self, key: Key, uid: str) -> Pod | None:
        """The object's pod with that uid, if a watch has reported it."""
        return self._entries[key].pods.get(uid) if key in self._entries else None

    def unowned_job(self, key: Key) -> Job | None:
        """A Job at work for an object of this name that does not control it."""
        return self._unowned_jobs.get(key)

    def removed_pods(self, key: Key) -> tuple[Pod, ...]:
        """The object's pods that succeeded or were evicted, and are gone."""
        return tuple(self._entries[key].removed_pods.values()) if key in self._entries else ()

    def saw_object(self, kind: str, manifest: K8sObject, event: str | None) -> None:
        """Takes an object from a watch: `event` is ADDED, MODIFIED or DELETED, or None for the list before it.

        One that becomes unwatched leaves the watch, which reports a deletion: of what it was, with its new version.
        """
        metadata = manifest["metadata"]
        key = Key(kind, metadata["namespace"], metadata["name"])
        self._saw_version(key, metadata["resourceVersion"])
        if event == "DELETED" or self._kinds[kind].is_done(manifest):
            self.drop(key)
            if key in self._unowned_jobs:
                self._queue.add(key)
            return
        entry, new = self._entries.get(key), False
        if entry is None and not self._objects.take(key.namespace):
            self.leave_out(LeftOut(key, metadata["uid"], metadata["resourceVersion"]))
            return
        if entry is None or entry.uid != metadata["uid"]:
            new = event == "ADDED" and "status" not in manifest
            taken = entry.bytes_taken if entry else 0
            entry = CacheEntry(metadata["uid"], complete=new, bytes_taken=taken)
            self._entries[key] = entry
        elif event is None:
            self.invalidate(key)  # the watch broke; what went meanwhile is never reported
        elif not is_later(metadata["resourceVersion"], entry.version):
            return  # our own write, which we have known for longer than the watch
        entry.keep(manifest, self._kinds[kind].profile_name(manifest))
        self._bound(key, entry)
        self._queue.add(key, new=new)

    def saw_job(self, manifest: K8sObject, event: str | None) -> None:
        """Takes a Job from a watch. One that still runs always has its object reconciled, which may have ended without
        it.
        """
        job, key = read_job(manifest), self._owner(manifest)
        entry = self._entries.get(key) if key else None
        if key is None:
            return
        if job.works_for_uid is None and self._kinds[key.kind].takes_slots:
            self.limiter.observe_job(key.namespace, job, gone=event == "DELETED")
        elif job.works_for_uid is not None:
            self._saw_unowned_job(key, job, gone=event == "DELETED")
        if entry is None:
            if event != "DELETED" and not job.finished and self._queue.length(key.namespace) < MOST_STRANGERS:
                self._queue.add_after(key, GATHER_SECONDS)
        elif event == "DELETED":
            entry.jobs.pop(job.uid, None)
            entry.losses += 1
            self._bound(key, entry)
            self._queue.add_after(key, REPLACE_SECONDS)
        else:
            self._saw_part(key, entry, entry.jobs, job)

    def saw_pod(self, manifest: K8sObject, event: str | None) -> None:
        """Takes a pod from a watch."""
        key = self._owner(manifest)
        entry = self._entries.get(key) if key else None
        if key is None or entry is None:
            return
        pod = read_pod(manifest)
        if event == "DELETED":
            entry.pods.pop(pod.uid, None)
            entry.keep_removed_pod(pod)
            entry.losses += 1
            self._bound(key, entry)
            self._queue.add_after(key, GATHER_SECONDS)
        else:
            self._saw_part(key, entry, entry.pods, pod)

    def saw_profile(self, name: str) -> None:
        """Has those reconciled that ask for a TuningProfile, or for the default one: they may have waited for it."""
        for key, entry in self._entries.items():
            if entry.profile in (None, name):
                self._queue.forget(key)
                self._queue.add(key)

    def _newest_version(self, key: Key) -> str:
        return self._newest_versions.get((key.kind, key.namespace), "0")

    def _saw_version(self, key: Key, version: str) -> None:
        if is_later(version, self._newest_version(key)):
            self._newest_versions.pop((key.kind, key.namespace), None)
            self._newest_versions[key.kind, key.namespace] = version
            if len(self._newest_versions) > MOST_VERSIONS:
                del self._newest_versions[next(iter(self._newest_versions))]
        written, _ = self._unconfirmed_writes.get(key, ("", 0.0))
        if written and not is_later(written, version):
            del self._unconfirmed_writes[key]

    def _saw_unowned_job(self, key: Key, job: Job, *, gone: bool) -> None:
        known = self._unowned_jobs.pop(key, None)
        if known is not None:
            self._unowned.give_back(key.namespace)
        if not gone and not job.outcome_decided and self._unowned.take(key.namespace):
            self._unowned_jobs[key] = replace(job, annotations=())

    def _saw_part(self, key: Key, entry: CacheEntry, parts: dict[str, Part], part: Part) -> None:
        """Has `key` reconciled where something changed that the rules read."""
        if keep_newest(parts, part):
            self._bound(key, entry)
            self._queue.add_after(key, GATHER_SECONDS)

    def _bound(self, key: Key, entry: CacheEntry) -> None:
        """Keeps no more of an object than its namespace has room for."""
        self._bytes.give_back(key.namespace, entry.bytes_taken)
        entry.bytes_taken = entry.bytes_held()
        if entry.crowded(self._kinds[key.kind].most_parts) or not self._bytes.take(key.namespace, entry.bytes_taken):
            entry.keep_the_name_alone()
            entry.bytes_taken = 0

    def _owner(self, manifest: K8sObject) -> Key | None:
        """The object that a Job or pod is labelled with."""
        metadata = manifest["metadata"]
        labels = metadata.get("labels", {})
        for kind, watched in self._kinds.items():
            if name := labels.get(watched.owner_label):
                return Key(kind, metadata["namespace"], name)
        return None
