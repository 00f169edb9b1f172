"""A Personalization or a batch that is being deleted: what the engine needs to know to have its artifacts erased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.field import StatusModel
from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_operator.engine.decision import CreateJob, PatchJob, Question, Rule
from likeness_operator.engine.lifecycle import Snapshot
from likeness_operator.erasure.job import erase_job_name
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.erasure.owner import Owner, read_owner
from likeness_operator.erasure.rules import RULES, not_erased_status
from likeness_operator.kubernetes.api_error import NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.event import EventContent, ObjectReference
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.namespace import is_namespace_terminating
from likeness_operator.kubernetes.pod import read_pod
from likeness_operator.personalization.profiles import Profiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ErasureLifecycle:
    """Implements `Lifecycle` for objects that are being deleted, of either kind."""

    api: ApiServer
    profiles: Profiles
    instance: str
    now: Callable[[], datetime]
    most_jobs: int = 20
    """That an object may have at once, each of which has to be ended."""
    rules: Sequence[Rule[ErasureObservation]] = RULES
    trusts_cache: bool = False
    """What is erased cannot be taken back."""

    async def read(self, manifest: K8sObject) -> Snapshot:
        """Reads the Jobs before the pods: a Job that ended then always comes with the pods that made it end."""
        owner = read_owner(manifest)
        name, eraser_name = owner.job_name, erase_job_name(owner.name, owner.uid)
        jobs = [await self._job(owner.namespace, name)] if name else await self._labelled_jobs(owner)
        eraser = await self._job(owner.namespace, eraser_name)
        pods = await self.api.labelled_pods(owner.namespace, owner.owner_label, owner.name)
        found = [job for job in jobs if job and job.name != eraser_name]
        return Snapshot(manifest, (*found, *([eraser] if eraser else [])), tuple(map(read_pod, pods)))

    async def _labelled_jobs(self, owner: Owner) -> list[Job | None]:
        found = await self.api.labelled_jobs(owner.namespace, owner.owner_label, owner.name, self.most_jobs)
        return [read_job(job) for job in found]

    async def _job(self, namespace: str, name: str) -> Job | None:
        try:
            return read_job(await self.api.job(namespace, name))
        except NotFoundError:
            return None

    def observe(self, snapshot: Snapshot) -> ErasureObservation:
        return self.with_jobs(ErasureObservation(read_owner(snapshot.manifest), self.now()), snapshot)

    def with_object(self, observation: ErasureObservation, manifest: K8sObject) -> ErasureObservation:
        return replace(observation, owner=read_owner(manifest))

    def with_jobs(self, observation: ErasureObservation, snapshot: Snapshot) -> ErasureObservation:
        """After a Job was deleted its pods still count: they may publish until they have ended."""
        about = observation.owner
        eraser = snapshot.job(erase_job_name(about.name, about.uid))
        erasing = snapshot.pods_of(eraser)
        return replace(
            observation,
            jobs=tuple(job for job in snapshot.jobs if job is not eraser),
            pods=tuple(pod for pod in snapshot.pods if pod not in erasing),
            eraser=eraser,
            eraser_pods=erasing,
        )

    def with_job_refusal(self, observation: ErasureObservation, waiting: Waiting) -> ErasureObservation:
        return replace(observation, job_refusal=waiting)

    async def answer(
        self,
        observation: ErasureObservation,
        question: Question,
        *,
        fresh: bool,  # noqa: ARG002 - part of the protocol
    ) -> ErasureObservation:
        about = observation.owner
        match question:
            case Question.PROFILE:
                # Whom the profile is for now does not matter.
                return replace(observation, profile=await self.profiles.choose(about.profile, None))
            case Question.NAMESPACE_TERMINATING:
                answer = await is_namespace_terminating(self.api, about.reference, self.instance, self.now())
                return replace(observation, namespace_terminating=answer)
        raise AssertionError(f"no rule for a terminating object asks for {question.name}")

    async def confirm(self, observation: ErasureObservation, action: CreateJob | PatchJob) -> None:
        """An erase Job needs no slot."""

    def is_news(self, observation: ErasureObservation, status: StatusModel) -> bool:
        return status != observation.owner.status

    def refused_status(self, observation: ErasureObservation, message: str) -> StatusModel:
        step = "see the operator's log, and report it; the erasure goes on"
        waiting = Waiting(reason=Reason.RESULT_INVALID, message=truncate(message), next_step=step)
        return not_erased_status(observation, waiting)

    def report_job(self, observation: ErasureObservation, job: Job) -> None:  # noqa: ARG002 - part of the protocol
        logger.info("created Job %s to erase what was published", job.name)

    def report_status(self, observation: ErasureObservation) -> EventContent | None:  # noqa: ARG002 - as above
        """Nothing: the event comes with the finalizer's removal."""
        return None

    def reference(self, observation: ErasureObservation) -> ObjectReference:
        return observation.owner.reference

    @property
    def most_writes(self) -> int:
        """Each Job is ended by one."""
        return self.most_jobs + 5
