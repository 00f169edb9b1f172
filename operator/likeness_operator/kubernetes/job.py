"""What the API server says about a Job of ours, read into facts. Of what runs in its pods nothing is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from sys import getsizeof

from likeness_api import GROUP
from likeness_operator.kubernetes.cut import text
from likeness_operator.kubernetes.k8s_object import K8sObject, controller_uid, true_conditions
from likeness_operator.kubernetes.label import ERASES, PROFILE, QUEUE

LONGEST_ANNOTATION = 2048
"""Characters of an annotation that are read: as many as a condition's message takes. Anybody may have edited it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A Job as the rules see it. Two that are equal mean the same to them."""

    name: str
    uid: str
    resource_version: str = field(compare=False)
    owner_uid: str | None
    """The uid of the object that controls the Job."""
    works_for_uid: str | None
    """The uid of the object that the Job works for without being controlled by it, and so without going with it."""
    profile: str
    """The TuningProfile that the Job was made with."""
    created: datetime
    terminating: bool
    """Whether the Job is being deleted."""
    suspended: bool
    queued: bool
    """Whether Kueue decides when the Job starts."""
    active_deadline_seconds: int | None
    ttl_seconds_after_finished: int | None
    annotations: tuple[tuple[str, str], ...]
    """Our own annotations, by name: what was written down about the Job when it was made."""
    succeeded: bool
    """Whether the Job has met its success criteria; the Complete condition may be a moment away."""
    failure_reason: str | None
    """Why the Job fails, where it does; the Failed condition may be a moment away."""
    failure_message: str
    finished: bool
    """Whether the Job is Complete or Failed: no pod is left running."""

    @property
    def outcome_decided(self) -> bool:
        """Whether the Job starts no further pod, because it has succeeded or fails."""
        return self.succeeded or self.failure_reason is not None

    @property
    def bytes_held(self) -> int:
        """The memory that it takes, about: its texts, and a kilobyte for all else."""
        return 1000 + sum(map(getsizeof, (self.failure_message, *(value for _, value in self.annotations))))

    def annotation(self, name: str) -> str | None:
        """The annotation called `name`; None where there is none."""
        return dict(self.annotations).get(name)


def read_job(manifest: K8sObject) -> Job:
    """The facts in a Job as the API server sends it, be it ours or somebody else's."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    labels = metadata.get("labels", {})
    conditions = true_conditions(manifest)
    failure = conditions.get("Failed") or conditions.get("FailureTarget")
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=controller_uid(metadata),
        works_for_uid=labels.get(ERASES),
        profile=labels.get(PROFILE, ""),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        terminating="deletionTimestamp" in metadata,
        suspended=spec.get("suspend", False),
        queued=QUEUE in labels,
        active_deadline_seconds=spec.get("activeDeadlineSeconds"),
        ttl_seconds_after_finished=spec.get("ttlSecondsAfterFinished"),
        annotations=tuple(
            (name, value[:LONGEST_ANNOTATION])
            for name, value in (metadata.get("annotations") or {}).items()
            if name.startswith(f"{GROUP}/")
        ),
        succeeded="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failure_reason=text(failure.get("reason", "")) if failure else None,
        failure_message=text(failure.get("message", "")) if failure else "",
        finished="Complete" in conditions or "Failed" in conditions,
    )
