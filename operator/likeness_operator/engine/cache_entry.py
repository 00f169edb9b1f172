"""What the watch cache keeps of one object that is not done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TypeVar

from likeness_operator.engine.lifecycle import Snapshot
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.cut import cut
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import Pod

MOST_REMOVED_PODS = 10
"""Pods kept of each object: as many as a history has entries."""
Part = TypeVar("Part", Job, Pod)


@dataclass(slots=True)
class CacheEntry:
    """An object that is not done, and its Jobs and pods by uid."""

    uid: str
    version: str = ""
    manifest: bytes = b""
    """The object as JSON, which takes a fraction of the memory that the parsed object does; empty where there is no
    room for it."""
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """There may be some of a namesake that was deleted: whoever reads them goes by owner."""
    removed_pods: dict[str, Pod] = field(default_factory=dict)
    """Pods that were taken off their node, or ended well, and are gone: the API server forgets them before a status has
    them."""
    complete: bool = False
    """Whether all there is has been seen, and is kept. Otherwise the next reconciliation reads all of it."""
    losses: int = 0
    """Jobs and pods that were seen to go."""
    profile: str | None = None
    waiting: str | None = None
    """The reason in `status.waiting`."""
    bytes_taken: int = 0
    """What all this takes of its namespace's share."""

    def snapshot(self) -> Snapshot:
        jobs, pods = tuple(self.jobs.values()), tuple(self.pods.values())
        return Snapshot(json.loads(self.manifest), jobs, pods, tuple(self.removed_pods.values()))

    def keep(self, manifest: K8sObject, profile: str | None) -> None:
        """Takes over the object, if it is not older than what is kept. Of its finalizers ours alone: whoever writes
        them has read them anew.
        """
        metadata = manifest["metadata"]
        known = self.version == metadata["resourceVersion"]
        if (known and self.manifest) or not (known or is_later(metadata["resourceVersion"], self.version)):
            return
        kept = cut(manifest)
        if "finalizers" in metadata:
            kept["metadata"]["finalizers"] = [name for name in metadata["finalizers"] if name == label.FINALIZER]
        self.manifest = json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
        self.version = metadata["resourceVersion"]
        self.profile = profile
        self.waiting = manifest.get("status", {}).get("waiting", {}).get("reason")

    def keep_removed_pod(self, pod: Pod) -> None:
        """Takes note of a pod that is gone, where the API server's word for it may be needed."""
        if pod.disruption is not None or pod.phase == "Succeeded":
            self.removed_pods[pod.uid] = pod if pod.finished else replace(pod, phase="Failed")
            for oldest in list(self.removed_pods)[:-MOST_REMOVED_PODS]:
                del self.removed_pods[oldest]

    def keep_the_name_alone(self) -> None:
        self.manifest = b""
        self.jobs, self.pods, self.removed_pods = {}, {}, {}
        self.complete = False

    def crowded(self, most_parts: int) -> bool:
        """Whether there are more Jobs or pods than an object can have."""
        return max(len(self.jobs), len(self.pods)) > most_parts

    def bytes_held(self) -> int:
        """The memory that it takes, about, beside a kilobyte for its name."""
        parts: list[Job | Pod] = [*self.jobs.values(), *self.pods.values(), *self.removed_pods.values()]
        return len(self.manifest) + sum(part.bytes_held for part in parts)


def keep_newest(parts: dict[str, Part], part: Part) -> bool:
    """Keeps a Job or pod, if it is not older than what is kept; returns whether anything changed that is read."""
    before = parts.get(part.uid)
    if before is None or is_later(part.resource_version, before.resource_version):
        parts[part.uid] = part
    return parts[part.uid] != before


def is_later(version: str, than: str) -> bool:
    """Whether one resourceVersion comes after another: they are numbers that grow (Kubernetes 1.35 promises it)."""
    return not (version.isdecimal() and than.isdecimal()) or int(version) > int(than)
