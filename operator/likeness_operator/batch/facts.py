"""What the API server says about a PersonalizationBatch, read into facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from likeness_api.field import Condition
from likeness_api.order import first_problem
from likeness_api.personalization_batch import PersonalizationBatchSpec, PersonalizationBatchStatus
from likeness_api.reason import Reason
from likeness_operator.kubernetes.event import ObjectReference
from likeness_operator.kubernetes.k8s_object import K8sObject, is_terminating, true_conditions
from likeness_operator.kubernetes.label import FINALIZER
from likeness_operator.personalization.facts import FINAL_CONDITIONS

BATCH_KIND = "PersonalizationBatch"


@dataclass(frozen=True)
class Batch:
    """A PersonalizationBatch as the rules see it."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleted: datetime | None
    """When its deletion was requested; None where it was not."""
    has_finalizer: bool
    spec: PersonalizationBatchSpec | None
    """None where the spec does not fit the types; `problem` then says why."""
    problem: str
    written: PersonalizationBatchStatus
    """The status as it is."""
    status: PersonalizationBatchStatus
    """The status of the revision in the spec: where that is a new one, there is nothing yet."""
    finished: bool
    """Whether its status says that this revision succeeded or failed."""
    erase_on_deletion: bool

    @property
    def revision(self) -> int:
        return self.spec.revision if self.spec else self.written.revision

    @property
    def reference(self) -> ObjectReference:
        return ObjectReference(BATCH_KIND, self.namespace, self.name, self.uid, self.resource_version)


def is_batch_done(manifest: K8sObject) -> bool:
    """Whether nothing is left to do about a batch as long as nobody edits it."""
    if is_terminating(manifest):
        return FINALIZER not in manifest["metadata"].get("finalizers", [])
    return is_batch_finished(manifest) and not lacks_finalizer(read_batch(manifest))


def lacks_finalizer(batch: Batch) -> bool:
    """Whether a batch is to be erased when it is deleted, may have published something, and could go without that."""
    return batch.erase_on_deletion and not batch.has_finalizer and batch.written.profile is not None


def is_batch_finished(manifest: K8sObject) -> bool:
    """Whether the status says that the revision in the spec ended. Read raw, so that nothing can hide it."""
    true, spec = true_conditions(manifest), manifest.get("spec", {})
    ends = [true[kind].get("reason") for kind in FINAL_CONDITIONS if kind in true]
    if not ends or manifest.get("status", {}).get("revision") != spec.get("revision", 1):
        return False
    return ends != [Reason.PLANNED] or spec.get("mode") == "Plan"


def batch_profile_name(manifest: K8sObject) -> str | None:
    """The TuningProfile that a batch asks for; None for the default one."""
    name: str | None = (manifest.get("spec", {}).get("template") or {}).get("profile")
    return name


def _going_on(status: PersonalizationBatchStatus, spec: PersonalizationBatchSpec | None) -> PersonalizationBatchStatus:
    """The status without its end, where that was the plan alone and work is wanted now."""
    if spec is None or spec.mode == "Plan" or not any(_is_planned_end(each) for each in status.conditions):
        return status
    kept = [each for each in status.conditions if not _is_planned_end(each)]
    return status.model_copy(update={"conditions": kept, "completion_time": None})


def _is_planned_end(condition: Condition) -> bool:
    return condition.type in FINAL_CONDITIONS and condition.reason == Reason.PLANNED


def read_batch(manifest: K8sObject) -> Batch:
    """The facts in a batch as the API server sends it; nothing is raised where it does not fit the types."""
    metadata = manifest["metadata"]
    deleted = metadata.get("deletionTimestamp")
    try:
        spec, problem = PersonalizationBatchSpec.model_validate(manifest.get("spec", {})), ""
    except ValidationError as error:
        spec, problem = None, f"spec.{first_problem(error)}"
    try:
        written = PersonalizationBatchStatus.model_validate(manifest.get("status", {}))
    except ValidationError:
        written = PersonalizationBatchStatus()
    new = spec is not None and written.revision != spec.revision
    return Batch(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        deleted=datetime.fromisoformat(deleted) if deleted else None,
        has_finalizer=FINALIZER in metadata.get("finalizers", []),
        spec=spec,
        problem=problem,
        written=written,
        status=PersonalizationBatchStatus(revision=spec.revision) if new and spec else _going_on(written, spec),
        finished=is_batch_finished(manifest),
        erase_on_deletion=manifest.get("spec", {}).get("deletionPolicy") == "Delete",
    )
