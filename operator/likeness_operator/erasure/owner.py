"""What is being deleted, as far as its erasure is concerned: a Personalization or a batch of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from likeness_api.accept import Refusal, accept_erase
from likeness_api.batch_order import accept_batch_erase
from likeness_api.order import EncodedOrder
from likeness_api.personalization import PersonalizationStatus
from likeness_api.personalization_batch import PersonalizationBatchStatus
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.batch.facts import BATCH_KIND, Batch, read_batch
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.event import ObjectReference
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.facts import Personalization, read_personalization
from likeness_operator.personalization.job import PodIdentity, job_name

NOBODY = PodIdentity(None, None)


@dataclass(frozen=True)
class Owner:
    """The object whose artifacts are to be erased."""

    reference: ObjectReference
    short_name: str
    """As kubectl takes it."""
    owner_label: str
    """The label by which its Jobs and pods name it."""
    generation: int
    deleted: datetime | None
    """When its deletion was requested."""
    has_finalizer: bool
    status: PersonalizationStatus | PersonalizationBatchStatus
    problem: str
    """Why its spec cannot be read; empty where it can. Then the rest says nothing."""
    profile: str | None = None
    """The TuningProfile that it was accepted by."""
    published_below: str = "its output"
    """Address of what there is to be erased."""
    identity: PodIdentity = NOBODY
    job_name: str | None = None
    """Of the only Job that may publish for it; None where there are several."""
    command: str = "erase"
    order: Callable[[TuningProfileSpec], EncodedOrder | Refusal] | None = None
    """The order to erase it, under a profile that may have changed since then."""

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def namespace(self) -> str:
        return self.reference.namespace

    @property
    def uid(self) -> str:
        return self.reference.uid


def read_owner(manifest: K8sObject) -> Owner:
    """The facts in an object of either kind."""
    if manifest.get("kind") == BATCH_KIND:
        return batch_owner(read_batch(manifest))
    return personalization_owner(read_personalization(manifest))


def personalization_owner(about: Personalization) -> Owner:
    spec, name, namespace = about.spec, about.name, about.namespace
    if spec is None:
        return _unreadable(about, "pz", label.PERSONALIZATION_NAME)
    return Owner(
        about.reference, "pz", label.PERSONALIZATION_NAME, about.generation, about.deleted, about.has_finalizer,
        about.status,
        problem="",
        # The default profile may be another one since; what was published lies where the former one says.
        profile=spec.profile or about.status.profile,
        published_below=f"{spec.output}/{namespace}/{name}/",
        identity=PodIdentity(spec.service_account_name, spec.credentials_secret_ref),
        job_name=job_name(name, about.uid),
        order=lambda profile: accept_erase(name, namespace, spec, profile),
    )  # fmt: skip


def batch_owner(about: Batch) -> Owner:
    spec, name, namespace = about.spec, about.name, about.namespace
    if spec is None:
        return _unreadable(about, "pzb", label.BATCH_NAME)
    template = spec.template
    return Owner(
        about.reference, "pzb", label.BATCH_NAME, about.generation, about.deleted, about.has_finalizer, about.written,
        problem="",
        profile=template.profile or about.written.profile,
        published_below=f"{template.output}/{namespace}/ for the subjects of batch {name}",
        identity=PodIdentity(template.service_account_name, template.credentials_secret_ref),
        command="erase-batch",
        order=lambda profile: accept_batch_erase(name, namespace, template.output, profile),
    )  # fmt: skip


def _unreadable(about: Personalization | Batch, short_name: str, owner_label: str) -> Owner:
    status = about.written if isinstance(about, Batch) else about.status
    if isinstance(about, Batch):
        where = f"{about.namespace}/ of its spec.template.output for its subjects, and .batches/{about.name}/ there"
        only_job = None
    else:
        where = f"{about.namespace}/{about.name}/ of its spec.output"
        only_job = job_name(about.name, about.uid)
    return Owner(
        about.reference, short_name, owner_label, about.generation, about.deleted, about.has_finalizer, status,
        problem=about.problem, published_below=where, job_name=only_job,
    )  # fmt: skip
