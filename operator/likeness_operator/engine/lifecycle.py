"""What a kind of objects gives the engine, so that the engine reconciles them: a new kind is one more of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from likeness_api.field import StatusModel
from likeness_api.personalization import Waiting
from likeness_operator.engine.decision import CreateJob, ObservationT, PatchJob, Question, Rule
from likeness_operator.kubernetes.event import EventContent, ObjectReference
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject, is_terminating
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.kubernetes.resource import Resource


@dataclass(frozen=True)
class WatchedKind:
    """What the watches have to know about a kind."""

    resource: Resource
    owner_label: str
    """The label by which Jobs and pods name their object."""
    is_done: Callable[[K8sObject], bool]
    """Whether nothing is left to do about an object, so that it need not be kept."""
    profile_name: Callable[[K8sObject], str | None]
    """The TuningProfile that an object asks for; None for the default one."""
    field_selector: str = ""
    """Of the objects that there may be something to do about; all of them where it is empty."""
    most_parts: int = 20
    """Jobs, and pods, kept of each object. There are more only where somebody else makes them."""
    reads_jobs_by_label: bool = False
    """Whether its Jobs are read by their label, so that one of the same name without it is never seen."""
    takes_slots: bool = False
    """Whether its Jobs count against a TuningProfile's `maxConcurrent`."""


@dataclass(frozen=True)
class Snapshot:
    """An object with the Jobs made for it and their pods, as the watches reported them or the API server answered."""

    manifest: K8sObject
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    removed_pods: tuple[Pod, ...] = ()
    """Pods that succeeded or were evicted, and are gone since: the API server knows nothing of them any more."""

    def job(self, name: str) -> Job | None:
        """The Job called `name`; None where there is none."""
        return next((job for job in self.jobs if job.name == name), None)

    def pods_of(self, job: Job | None) -> tuple[Pod, ...]:
        """The pods that `job` controls."""
        return tuple(pod for pod in self.pods if job and pod.owner_uid == job.uid)

    def with_job(self, name: str, job: Job | None) -> Snapshot:
        """The snapshot with `job` in place of the one called `name`, or without it."""
        others = tuple(each for each in self.jobs if each.name != name)
        return replace(self, jobs=(*others, job) if job else others)


class Lifecycle(Protocol[ObservationT]):
    """One stage of a kind's objects: while they live, or while they are being deleted.

    The engine takes a snapshot, has it observed, runs the rules over the observation, has their questions answered, and
    carries out what they decide. Whatever raises, raises the errors of api_error.py.
    """

    @property
    def rules(self) -> Sequence[Rule[ObservationT]]:
        """Read in order; the first one that answers decides, and the last one always does."""

    @property
    def most_writes(self) -> int:
        """In one reconciliation. More would mean that two rules undo each other's work."""

    @property
    def trusts_cache(self) -> bool:
        """Whether a decision may start from the watch cache; else each one starts from what the API server says."""

    async def read(self, manifest: K8sObject) -> Snapshot:
        """What the API server says now about the Jobs and pods of the object that `manifest` is."""

    def observe(self, snapshot: Snapshot) -> ObservationT:
        """The observation that a snapshot makes, with no question answered."""

    def with_object(self, observation: ObservationT, manifest: K8sObject) -> ObservationT:
        """The observation after the object was written: `manifest` is what it has become."""

    def with_jobs(self, observation: ObservationT, snapshot: Snapshot) -> ObservationT:
        """The observation after a Job was created, patched or deleted."""

    def with_job_refusal(self, observation: ObservationT, waiting: Waiting) -> ObservationT:
        """The observation after the API server refused to create the Job, and what to tell the user about it."""

    async def answer(self, observation: ObservationT, question: Question, *, fresh: bool) -> ObservationT:
        """The observation with the answer to `question`: from memory, or by the API server's word where `fresh`."""

    async def confirm(self, observation: ObservationT, action: CreateJob | PatchJob) -> None:
        """Raises ConflictError where, by the API server's word, the Job may not start after all."""

    def is_news(self, observation: ObservationT, status: StatusModel) -> bool:
        """Whether `status` says enough that the object's own does not, to be worth a write."""

    def refused_status(self, observation: ObservationT, message: str) -> StatusModel:
        """What to write in place of a status that the API server refused with this message: an end, or the like, that
        holds nothing but the message and what the API server took before.
        """

    def report_job(self, observation: ObservationT, job: Job) -> None:
        """Logs and counts that `job` was created."""

    def report_status(self, observation: ObservationT) -> EventContent | None:
        """Logs and counts what was written into the status; returns the event to be created, if any."""

    def reference(self, observation: ObservationT) -> ObjectReference:
        """Which object an event is about."""


@dataclass(frozen=True)
class Stages:
    """How the objects of one kind are reconciled."""

    kind: WatchedKind
    live: Lifecycle[Any]
    terminating: Lifecycle[Any]

    def of(self, manifest: K8sObject) -> Lifecycle[Any]:
        """The stage that an object is in."""
        return self.terminating if is_terminating(manifest) else self.live
