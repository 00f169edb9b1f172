"""What the API server says about a pod of ours, read into facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import getsizeof

from likeness_operator.kubernetes.cut import text
from likeness_operator.kubernetes.k8s_object import K8sObject, controller_uid, true_conditions
from likeness_operator.kubernetes.label import CONTAINER

TERMINAL_PHASES = ("Succeeded", "Failed")
NEVER = "1970-01-01T00:00:00Z"
"""The kubelet's start time of a container that never started: its command is missing, or the GPU runtime is."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the rules see it. Two that are equal mean the same to them."""

    name: str
    uid: str
    resource_version: str = field(compare=False)
    owner_uid: str | None
    """The uid of the Job that controls the pod."""
    phase: str
    deletion_timestamp: str | None
    """When the pod's grace period is over, where the pod is being deleted, in RFC 3339."""
    started_at: str | None
    """When the container started, in RFC 3339."""
    running: bool
    """Whether the container started. Its end is reported a moment before the pod's phase; until then this is True."""
    exit_code: int | None
    end_reason: str
    """The kubelet's word for why the container, or the pod, ended, such as OOMKilled."""
    finished_at: str | None
    """When the container ended, in RFC 3339."""
    message: str
    """The termination message: the runtime's result, or anything at all; the kubelet's where no container ended."""
    waiting_reason: str
    waiting_message: str
    unschedulable: str | None
    """The scheduler's sentence where it finds no node."""
    disruption: str | None
    """Why Kubernetes took the pod off its node: the reason of its DisruptionTarget condition."""
    memory_limit: str | None

    @property
    def finished(self) -> bool:
        """Whether the pod is Succeeded or Failed."""
        return self.phase in TERMINAL_PHASES

    @property
    def bytes_held(self) -> int:
        """The memory that it takes, about: its longer texts, and a kilobyte for all else."""
        return 1000 + sum(map(getsizeof, (self.message, self.waiting_message, self.unschedulable)))


def read_pod(manifest: K8sObject) -> Pod:
    """The facts in a pod as the API server sends it."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    disruption = true_conditions(manifest).get("DisruptionTarget")
    state = _ours(status.get("containerStatuses", [])).get("state", {})
    running, ended, waiting = (state.get(kind) or {} for kind in ("running", "terminated", "waiting"))
    started = running.get("startedAt") or ended.get("startedAt")
    resources = _ours(manifest["spec"].get("containers", [])).get("resources", {})
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=controller_uid(metadata),
        phase=status.get("phase", "Pending"),
        deletion_timestamp=metadata.get("deletionTimestamp"),
        started_at=started if started != NEVER else None,
        running=bool(running or ended) and status.get("phase") == "Running",
        exit_code=ended.get("exitCode"),
        end_reason=text(ended.get("reason") or status.get("reason", "")),
        finished_at=ended.get("finishedAt"),
        message=text((ended if ended else status).get("message") or ""),
        waiting_reason=text(waiting.get("reason", "")),
        waiting_message=text(waiting.get("message", "")),
        unschedulable=text(scheduled.get("message", "")) if scheduled.get("status") == "False" else None,
        disruption=text(disruption.get("reason", "")) if disruption else None,
        memory_limit=resources.get("limits", {}).get("memory"),
    )


def _ours(containers: list[K8sObject]) -> K8sObject:
    """Our own container among containers or their statuses; empty where it is not there."""
    return next((container for container in containers if container.get("name") == CONTAINER), {})
