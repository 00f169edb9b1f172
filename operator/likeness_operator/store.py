"""What the watches told us of the unfinished Personalizations, so that most passes over them need not ask again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from likeness_api.personalization import Progress
from likeness_operator import label
from likeness_operator.attempt import MOST_ATTEMPTS
from likeness_operator.job import job_name
from likeness_operator.observed import Job, Manifest, Pod, is_over, read_job, read_pod
from likeness_operator.progress import Tracked, too_soon, tracked
from likeness_operator.turn import Turns
from likeness_operator.work_queue import Key, WorkQueue

REPLACE_SECONDS = 1.0
"""Until a Job that was deleted is replaced: who deletes Jobs in a loop must not make us create them in a loop."""
GATHER_SECONDS = 0.1
"""Jobs and pods change several times in a moment; one look afterwards is enough."""
Part = TypeVar("Part", Job, Pod)


class Heard(Enum):
    """What became of a report of progress."""

    YES = "yes"
    TOO_SOON = "too soon"
    UNKNOWN = "unknown"
    """No such pod of that Personalization's own Job."""


@dataclass(frozen=True)
class Seen:
    """A Personalization with its Job and that Job's pods: what a pass starts from, or what it leaves behind."""

    manifest: Manifest
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    eraser: Job | None = None
    """Of one that is being deleted, as are the next. They are always asked for, never recalled."""
    eraser_pods: tuple[Pod, ...] = ()


@dataclass(slots=True)
class Known:
    """A Personalization that is not over."""

    profile: str | None
    uid: str
    version: str
    manifest: bytes = b""
    """As JSON, which takes a fraction of the memory that the parsed object does."""
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """By uid. There may be some of a namesake that was deleted: `recall` leaves them out."""
    taken_away: dict[str, Pod] = field(default_factory=dict)
    """Pods that were taken off their node, or ended well, and are gone, by uid: the API server forgets them before a
    status tells."""
    complete: bool = False
    """Everything there is has been seen. Otherwise the next pass asks the API server."""
    losses: int = 0
    """Jobs and pods that were seen to go."""
    progress: Tracked | None = None
    waiting: str | None = None
    """The reason in its status."""


class Store:
    """The Personalizations that are not over. All others are dropped as they are seen and cost nothing.

    Watches may be late, and what vanishes while one is broken is never told. So the store is only believed about
    what it has seen from the beginning (the watch announced the Personalization as new) or has been told by a pass that
    asked the API server; `distrust` ends that. Resync distrusts each one in turn, so that no ghost lives for long.
    """

    def __init__(self, queue: WorkQueue, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock
        self.turns = Turns(queue.add)
        self._known: dict[Key, Known] = {}
        self._erasers: dict[Key, Job] = {}
        """The erase Jobs at work. One may outlive its Personalization, if somebody took the finalizer off."""
        self._unheard: dict[Key, tuple[str, float]] = {}
        """The first version written of those whose watch has not told it yet, and when it was written."""
        self._heard: dict[str, str] = {}
        """The newest version that the watch has told, by namespace: each has a stream of its own, or all have one."""

    def __len__(self) -> int:
        return len(self._known)

    def keys(self) -> Iterator[Key]:
        return iter(tuple(self._known))

    def waiting(self) -> Counter[str]:
        """How many wait for each reason."""
        return Counter(known.waiting for known in self._known.values() if known.waiting is not None)

    def oldest_echo_seconds(self) -> float:
        """For how long the watch has owed us the news of our own writes. A watch that stalls grows it.

        A watch tells things in their order. So what is older than what it has told will not be told any more: it broke,
        and when it began anew, one that is settled was left out.
        """
        for key, (version, written_at) in list(self._unheard.items()):
            if is_later(version, self._heard.get(key.namespace, "0")):
                return self._clock() - written_at
            del self._unheard[key]
        return 0.0

    def wrote(self, key: Key, version: str) -> None:
        """A status was written; the watch will tell, if it was not quicker than the answer to the write."""
        if is_later(version, self._heard.get(key.namespace, "0")):
            self._unheard.setdefault(key, (version, self._clock()))

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)
        self.turns.leave(key)

    def losses(self, key: Key) -> int:
        """What `remember` wants to know from before the pass asked anybody."""
        return self._known[key].losses if key in self._known else 0

    def distrust(self, key: Key) -> None:
        """Has the next pass ask the API server for all there is."""
        known = self._known.get(key)
        if known is not None:
            known.complete = False
            known.jobs.clear()
            known.pods.clear()

    def recall(self, key: Key) -> Seen | None:
        """What is known, or None where it is not all there is."""
        known = self._known.get(key)
        if known is None or not known.complete:
            return None
        name = job_name(key.name, known.uid)
        job = next((job for job in known.jobs.values() if job.name == name), None)
        pods = tuple(pod for pod in known.pods.values() if job and pod.owner_uid == job.uid)
        return Seen(json.loads(known.manifest), job, pods)

    def eraser(self, key: Key) -> Job | None:
        """An erase Job for a Personalization of this name, at work."""
        return self._erasers.get(key)

    def taken_away(self, key: Key, job_uid: str) -> tuple[Pod, ...]:
        """The Job's pods that are gone and that its status has to tell of."""
        known = self._known.get(key)
        return tuple(pod for pod in known.taken_away.values() if pod.owner_uid == job_uid) if known else ()

    def remember(self, key: Key, seen: Seen, losses: int, asked: bool) -> None:
        """Takes over what a pass has read and written, where no watch has told anything newer.

        `asked`: it is all there was by the API server's word. What was lost since may still be in it; then it is not
        believed.
        """
        known = self._known.get(key)
        if known is None or known.uid != seen.manifest["metadata"]["uid"]:
            return
        if is_over(seen.manifest):
            self.forget(key)
            return
        _keep(known, seen.manifest)
        if seen.job:
            _newest(known.jobs, seen.job)
        for pod in seen.pods:
            _newest(known.pods, pod)
        known.complete = (known.complete or asked) and known.losses == losses

    def progress(self, key: Key) -> Progress | None:
        """What the status should say about how far the pod is that runs now; None where there is nothing new."""
        known = self._known.get(key)
        if known is None or known.progress is None:
            return None
        pod = known.pods.get(known.progress.pod_uid)
        return known.progress.told if pod and pod.running else None

    def hear_progress(self, key: Key, pod_uid: str, step: int, total_steps: int) -> Heard:
        """Takes a pod's word about its own Personalization, and has it looked at where that is worth a write."""
        known = self._known.get(key)
        if known is None or not _is_its_pod(key, known, pod_uid):
            return Heard.UNKNOWN
        before, now = known.progress, self._clock()
        if too_soon(before, pod_uid, now):
            return Heard.TOO_SOON
        known.progress = tracked(before, pod_uid, step, total_steps, now)
        if known.progress.told is not None and (before is None or known.progress.told != before.told):
            self._queue.add(key)
        return Heard.YES

    def saw_personalization(self, manifest: Manifest, kind: str | None) -> None:
        """`kind` of the watch's event; None for an object of the list before it.

        One that is settled leaves the watch, which tells it as a deletion: of what it was, with its new version.
        """
        metadata = manifest["metadata"]
        key = Key(metadata["namespace"], metadata["name"])
        self._hear(key, metadata["resourceVersion"])
        if kind == "DELETED" or is_over(manifest):
            self.forget(key)
            if key in self._erasers:
                self._queue.add(key)
            return
        known, new = self._known.get(key), False
        if known is None or known.uid != metadata["uid"]:
            new = kind == "ADDED" and "status" not in manifest
            known = Known(None, metadata["uid"], "", complete=new)
            self._known[key] = known
        elif kind is None:
            self.distrust(key)  # the watch broke; what went meanwhile will never be told
        elif not is_later(metadata["resourceVersion"], known.version):
            return  # our own write, which we have known for longer than the watch
        _keep(known, manifest)
        self._queue.add(key, new=new)

    def saw_job(self, manifest: Manifest, kind: str | None) -> None:
        """A Job that still runs is always looked at: its Personalization may have ended without it."""
        job, key = read_job(manifest), _owner(manifest)
        known = self._known.get(key) if key else None
        if key is None:
            return
        if job.erases is None:
            self.turns.saw(key.namespace, job, gone=kind == "DELETED")
        elif kind == "DELETED" or job.settled:
            self._erasers.pop(key, None)
        else:
            self._erasers[key] = job
        if known is None:
            if kind != "DELETED" and not job.ended:
                self._queue.add_later(key, GATHER_SECONDS)
        elif kind == "DELETED":
            known.jobs.pop(job.uid, None)
            known.losses += 1
            self._queue.add_later(key, REPLACE_SECONDS)
        else:
            self._saw_part(key, known.jobs, job)

    def saw_pod(self, manifest: Manifest, kind: str | None) -> None:
        key = _owner(manifest)
        known = self._known.get(key) if key else None
        if key is None or known is None:
            return
        pod = read_pod(manifest)
        if kind == "DELETED":
            known.pods.pop(pod.uid, None)
            if pod.disruption is not None or pod.phase == "Succeeded":
                known.taken_away[pod.uid] = pod if pod.ended else replace(pod, phase="Failed")
                for oldest in list(known.taken_away)[:-MOST_ATTEMPTS]:
                    del known.taken_away[oldest]
            known.losses += 1
            self._queue.add_later(key, GATHER_SECONDS)
        else:
            self._saw_part(key, known.pods, pod)

    def saw_profile(self, name: str) -> None:
        """Its Personalizations, and those that take the default, may have waited for this."""
        for key, known in self._known.items():
            if known.profile in (None, name):
                self._queue.forgive(key)
                self._queue.add(key)

    def _hear(self, key: Key, version: str) -> None:
        if is_later(version, self._heard.get(key.namespace, "0")):
            self._heard[key.namespace] = version
        owed, _ = self._unheard.get(key, ("", 0.0))
        if owed and not is_later(owed, version):
            del self._unheard[key]

    def _saw_part(self, key: Key, parts: dict[str, Part], part: Part) -> None:
        """Looks at `key` where something changed that the rules read."""
        known = parts.get(part.uid)
        _newest(parts, part)
        if parts[part.uid] != known:
            self._queue.add_later(key, GATHER_SECONDS)


def _is_its_pod(key: Key, known: Known, pod_uid: str) -> bool:
    """Whether a pod is one of the Job that has the fixed name and belongs to this very Personalization."""
    pod = known.pods.get(pod_uid)
    job = known.jobs.get(pod.owner_uid or "") if pod else None
    return job is not None and job.name == job_name(key.name, known.uid) and job.owner_uid == known.uid


def is_later(version: str, than: str) -> bool:
    """Whether one resourceVersion comes after another: they are numbers that grow (Kubernetes 1.35 promises it)."""
    return not (version.isdecimal() and than.isdecimal()) or int(version) > int(than)


def _newest(parts: dict[str, Part], part: Part) -> None:
    known = parts.get(part.uid)
    if known is None or is_later(part.resource_version, known.resource_version):
        parts[part.uid] = part


def _keep(known: Known, manifest: Manifest) -> None:
    """Without managedFields, which are most of an object and nothing that we read."""
    metadata = manifest["metadata"]
    if not is_later(metadata["resourceVersion"], known.version):
        return
    kept = manifest | {"metadata": {field: metadata[field] for field in metadata if field != "managedFields"}}
    known.manifest = json.dumps(kept, separators=(",", ":")).encode()
    known.version = metadata["resourceVersion"]
    known.profile = manifest.get("spec", {}).get("profile")
    known.waiting = manifest.get("status", {}).get("waiting", {}).get("reason")


def _owner(manifest: Manifest) -> Key | None:
    """The Personalization that a Job or pod is labelled with."""
    metadata = manifest["metadata"]
    name = metadata.get("labels", {}).get(label.PERSONALIZATION)
    return Key(metadata["namespace"], name) if name else None
