"""What the API server says about a Personalization, read into facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from likeness_api.order import first_problem
from likeness_api.personalization import PersonalizationSpec, PersonalizationStatus
from likeness_operator.kubernetes.event import ObjectReference
from likeness_operator.kubernetes.k8s_object import K8sObject, is_terminating, true_conditions
from likeness_operator.kubernetes.label import FINALIZER

KIND = "Personalization"
FINAL_CONDITIONS = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Personalization:
    """A Personalization as the rules see it."""

    namespace: str
    name: str
    uid: str
    created: datetime
    generation: int
    resource_version: str
    deleted: datetime | None
    """When its deletion was requested; None where it was not."""
    has_finalizer: bool
    """Whether our finalizer is on it."""
    spec: PersonalizationSpec | None
    """None where the spec does not fit the types; `problem` then says why."""
    problem: str
    status: PersonalizationStatus
    finished: bool
    """Whether its status says that it succeeded or failed."""
    unwatched: bool
    """Whether its status says that nothing is left to do about it, so that the watch leaves it out."""
    erase_on_deletion: bool
    """Whether its spec says `deletionPolicy: Delete`, be the rest of it readable or not."""
    had_a_job: bool
    """Whether its status knows a Job, be the rest of it readable or not: something may have been published."""

    @property
    def terminating(self) -> bool:
        """Whether the Personalization is being deleted."""
        return self.deleted is not None

    @property
    def reference(self) -> ObjectReference:
        return ObjectReference(KIND, self.namespace, self.name, self.uid, self.resource_version)


def is_finished(manifest: K8sObject) -> bool:
    """Whether the status says that a Personalization ended. Read from raw conditions, so that nothing can hide it."""
    return any(condition in true_conditions(manifest) for condition in FINAL_CONDITIONS)


def is_done(manifest: K8sObject) -> bool:
    """Whether nothing is left to do about a Personalization now.

    One that is being deleted: our finalizer is off. One that finished: our finalizer waits for its deletion, or the
    watch leaves it out from now on.
    """
    has_finalizer = FINALIZER in manifest["metadata"].get("finalizers", [])
    if is_terminating(manifest):
        return not has_finalizer
    if not is_finished(manifest):
        return False
    return has_finalizer or is_unwatched(manifest)


def is_unwatched(manifest: K8sObject) -> bool:
    """Whether the status says `unwatched`. Read raw as well."""
    return manifest.get("status", {}).get("unwatched") is True


def profile_name(manifest: K8sObject) -> str | None:
    """The TuningProfile that a Personalization asks for; None for the default one."""
    name: str | None = manifest.get("spec", {}).get("profile")
    return name


def read_personalization(manifest: K8sObject) -> Personalization:
    """The facts in a Personalization as the API server sends it; nothing is raised where it does not fit the types."""
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
        has_finalizer=FINALIZER in metadata.get("finalizers", []),
        spec=spec,
        problem=problem,
        status=status,
        finished=is_finished(manifest),
        unwatched=is_unwatched(manifest),
        erase_on_deletion=manifest.get("spec", {}).get("deletionPolicy") == "Delete",
        had_a_job=any(manifest.get("status", {}).get(field) for field in ("jobRef", "attempts")),
    )
