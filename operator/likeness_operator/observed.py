"""What the API server says about our objects, read into facts.

The only place that knows the shape of Personalizations, Jobs and Pods on the wire; the rules see these facts alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from likeness_api.accept import prompt_warning
from likeness_api.encoder_use import EncoderUse, encoder_use
from likeness_api.order import ORDER_VARIABLE, Order, first_problem
from likeness_api.personalization import PersonalizationSpec, PersonalizationStatus
from likeness_operator.label import ERASES, FINALIZER, PROFILE, QUEUE

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""

CONTAINER = "tuner"
TERMINAL = ("Succeeded", "Failed")
NEVER = "1970-01-01T00:00:00Z"
"""When, by the kubelet's word, a container started that never did: there is no command, or no GPU runtime, in it."""


@dataclass(frozen=True)
class Personalization:
    namespace: str
    name: str
    uid: str
    created: datetime
    generation: int
    resource_version: str
    deleted: datetime | None
    """Since when it is being deleted; None where it is not."""
    guarded: bool
    """Our finalizer is on it."""
    spec: PersonalizationSpec | None
    """None where it does not fit the types; `problem` then says why."""
    problem: str
    status: PersonalizationStatus
    finished: bool

    @property
    def deleting(self) -> bool:
        return self.deleted is not None


@dataclass(frozen=True, slots=True)
class Job:
    """Two that are equal mean the same to the rules."""

    name: str
    uid: str
    resource_version: str = field(compare=False)
    owner_uid: str | None
    erases: str | None
    """Of an erase Job: the uid of the Personalization whose artifacts it erases."""
    profile: str
    created: datetime
    deleting: bool
    suspended: bool
    queued: bool
    """Kueue decides when it starts."""
    active_deadline_seconds: int | None
    ttl_seconds_after_finished: int | None
    token: str | None
    """The subject's word, from the order."""
    token_warning: str | None
    """What is odd about the order's prompts."""
    encoder_use: EncoderUse | None
    """Whether the order names an encoder."""
    succeeded: bool
    """Settled, though the Complete condition may be a moment away."""
    failure_reason: str | None
    """Settled as failed, for this reason; the Failed condition may be a moment away."""
    failure_message: str
    ended: bool
    """Complete or Failed: no pod is left running."""

    @property
    def settled(self) -> bool:
        """No pod will be started any more."""
        return self.succeeded or self.failure_reason is not None


@dataclass(frozen=True, slots=True)
class Pod:
    """Two that are equal mean the same to the rules."""

    name: str
    uid: str
    resource_version: str = field(compare=False)
    owner_uid: str | None
    phase: str
    due_to_go: str | None
    """When its time to end is over, of one that was told to end."""
    started_at: str | None
    running: bool
    """The tuner started. That it ended is told a moment before the pod's phase; until then nothing else is true."""
    exit_code: int | None
    end_reason: str
    """The kubelet's word, such as OOMKilled."""
    finished_at: str | None
    message: str
    """The termination message: the runtime's result, or anything at all; the kubelet's where no container ended."""
    waiting_reason: str
    waiting_message: str
    unschedulable: str | None
    """The scheduler's sentence where it finds no node."""
    disruption: str | None
    """Why Kubernetes took the pod away: the reason of its DisruptionTarget condition."""
    memory_limit: str | None

    @property
    def ended(self) -> bool:
        return self.phase in TERMINAL


def is_finished(manifest: Manifest) -> bool:
    """Whether a Personalization has its end in its status. Read from raw conditions, so that nothing can hide it."""
    return any(condition in true_conditions(manifest) for condition in TERMINAL)


def is_over(manifest: Manifest) -> bool:
    """Whether nothing is left to do about a Personalization: it ended, and our finalizer is where it has to be."""
    metadata = manifest["metadata"]
    guarded = FINALIZER in metadata.get("finalizers", [])
    if "deletionTimestamp" in metadata:
        return not guarded
    return is_finished(manifest) and (guarded or not _may_have_published(manifest))


def _may_have_published(manifest: Manifest) -> bool:
    """Of one with `deletionPolicy: Delete`. Raw as well."""
    status = manifest.get("status", {})
    return manifest["spec"].get("deletionPolicy") == "Delete" and bool(status.get("jobRef") or status.get("attempts"))


def read_personalization(manifest: Manifest) -> Personalization:
    metadata = manifest["metadata"]
    deleted = metadata.get("deletionTimestamp")
    try:
        spec, problem = PersonalizationSpec.model_validate(manifest.get("spec", {})), ""
    except ValidationError as error:
        spec, problem = None, f"spec.{first_problem(error)}"
    try:
        status = PersonalizationStatus.model_validate(manifest.get("status", {}))
    except ValidationError:
        # Another version of the operator gave a field that we know another meaning; fields that we do not know are no
        # trouble. All but a finished one's can be observed anew.
        status = PersonalizationStatus()
    return Personalization(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        deleted=datetime.fromisoformat(deleted) if deleted else None,
        guarded=FINALIZER in metadata.get("finalizers", []),
        spec=spec,
        problem=problem,
        status=status,
        finished=is_finished(manifest),
    )


def read_job(manifest: Manifest) -> Job:
    metadata, spec = manifest["metadata"], manifest["spec"]
    labels = metadata.get("labels", {})
    conditions = true_conditions(manifest)
    failure = conditions.get("Failed") or conditions.get("FailureTarget")
    order = read_order(spec)
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=_controller_uid(metadata),
        erases=labels.get(ERASES),
        profile=labels.get(PROFILE, ""),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        suspended=spec.get("suspend", False),
        queued=QUEUE in labels,
        active_deadline_seconds=spec.get("activeDeadlineSeconds"),
        ttl_seconds_after_finished=spec.get("ttlSecondsAfterFinished"),
        token=order.subject.token if order else None,
        token_warning=prompt_warning(order) if order else None,
        encoder_use=encoder_use(order) if order else None,
        succeeded="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failure_reason=failure.get("reason", "") if failure else None,
        failure_message=failure.get("message", "") if failure else "",
        ended="Complete" in conditions or "Failed" in conditions,
    )


def read_pod(manifest: Manifest) -> Pod:
    metadata, status = manifest["metadata"], manifest.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    disruption = true_conditions(manifest).get("DisruptionTarget")
    state = _named(status.get("containerStatuses", [])).get("state", {})
    running, ended, waiting = (state.get(kind) or {} for kind in ("running", "terminated", "waiting"))
    started = running.get("startedAt") or ended.get("startedAt")
    resources = _named(manifest["spec"].get("containers", [])).get("resources", {})
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=_controller_uid(metadata),
        phase=status.get("phase", "Pending"),
        due_to_go=metadata.get("deletionTimestamp"),
        started_at=started if started != NEVER else None,
        running=bool(running or ended) and status.get("phase") == "Running",
        exit_code=ended.get("exitCode"),
        end_reason=ended.get("reason") or status.get("reason", ""),
        finished_at=ended.get("finishedAt"),
        message=(ended if ended else status).get("message") or "",
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else None,
        disruption=disruption.get("reason", "") if disruption else None,
        memory_limit=resources.get("limits", {}).get("memory"),
    )


def true_conditions(manifest: Manifest) -> dict[str, Manifest]:
    """The conditions whose status is True, by type."""
    conditions = manifest.get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in conditions if condition.get("status") == "True"}


def _controller_uid(metadata: Manifest) -> str | None:
    owners = [owner["uid"] for owner in metadata.get("ownerReferences", []) if owner.get("controller")]
    return owners[0] if owners else None


def _named(containers: list[Manifest]) -> Manifest:
    """The tuner among containers or their statuses; a profile's pod template may add others beside it."""
    return next((container for container in containers if container.get("name") == CONTAINER), {})


def read_order(job_spec: Manifest) -> Order | None:
    container = _named(job_spec["template"]["spec"].get("containers", []))
    for variable in container.get("env", []):
        if variable["name"] == ORDER_VARIABLE:
            try:
                return Order.decode(variable.get("value", "").replace("$$", "$"))
            except ValueError:
                return None
    return None
