"""A Personalization that is being deleted: what the engine needs to know to have its artifacts erased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.field import StatusModel
from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator.engine.decision import CreateJob, PatchJob, Question, Rule
from likeness_operator.engine.lifecycle import Snapshot
from likeness_operator.erasure.job import erase_job_name
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.erasure.rules import RULES
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_error import NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.event import EventContent, ObjectReference
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.namespace import is_namespace_terminating
from likeness_operator.kubernetes.pod import read_pod
from likeness_operator.personalization.facts import read_personalization
from likeness_operator.personalization.job import job_name
from likeness_operator.personalization.profiles import Profiles
from likeness_operator.personalization.status import is_news, with_condition_set

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ErasureLifecycle:
    """Implements `Lifecycle` for Personalizations that are being deleted."""

    api: ApiServer
    profiles: Profiles
    instance: str
    now: Callable[[], datetime]
    rules: Sequence[Rule[ErasureObservation]] = RULES
    most_writes: int = 5
    trusts_cache: bool = False
    """What is erased cannot be taken back."""

    async def read(self, manifest: K8sObject) -> Snapshot:
        """Reads the Jobs before the pods: a Job that ended then always comes with the pods that made it end."""
        metadata = manifest["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        jobs = [await self._job(namespace, job_name(name, uid)), await self._job(namespace, erase_job_name(name, uid))]
        pods = await self.api.labelled_pods(namespace, label.PERSONALIZATION_NAME, name)
        return Snapshot(manifest, tuple(job for job in jobs if job), tuple(read_pod(pod) for pod in pods))

    async def _job(self, namespace: str, name: str) -> Job | None:
        try:
            return read_job(await self.api.job(namespace, name))
        except NotFoundError:
            return None

    def observe(self, snapshot: Snapshot) -> ErasureObservation:
        return self.with_jobs(ErasureObservation(read_personalization(snapshot.manifest), self.now()), snapshot)

    def with_object(self, observation: ErasureObservation, manifest: K8sObject) -> ErasureObservation:
        return replace(observation, personalization=read_personalization(manifest))

    def with_jobs(self, observation: ErasureObservation, snapshot: Snapshot) -> ErasureObservation:
        """After the Job that tunes was deleted its pods still count: they may publish until they have ended."""
        about = observation.personalization
        eraser = snapshot.job(erase_job_name(about.name, about.uid))
        erasing = snapshot.pods_of(eraser)
        return replace(
            observation,
            job=snapshot.job(job_name(about.name, about.uid)),
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
        about = observation.personalization
        match question:
            case Question.PROFILE:
                assert about.spec is not None
                # The default profile may be another one since; what was published lies where the former one says.
                wanted = about.spec.profile or about.status.profile
                # Whom it is for now does not matter, either.
                return replace(observation, profile=await self.profiles.choose(wanted, None))
            case Question.NAMESPACE_TERMINATING:
                answer = await is_namespace_terminating(self.api, about.reference, self.instance, self.now())
                return replace(observation, namespace_terminating=answer)
        raise AssertionError(f"no rule for a terminating Personalization asks for {question.name}")

    async def confirm(self, observation: ErasureObservation, action: CreateJob | PatchJob) -> None:
        """An erase Job needs no slot."""

    def is_news(self, observation: ErasureObservation, status: StatusModel) -> bool:
        assert isinstance(status, PersonalizationStatus)
        return is_news(status, observation.personalization.status)

    def refused_status(self, observation: ErasureObservation, message: str) -> StatusModel:
        about = observation.personalization
        kind = ("Erased", False)
        return with_condition_set(
            about.status, about, self.now(), type_is=kind, reason=Reason.RESULT_INVALID, message=truncate(message)
        )

    def report_job(self, observation: ErasureObservation, job: Job) -> None:  # noqa: ARG002 - part of the protocol
        logger.info("created Job %s to erase what was published", job.name)

    def report_status(self, observation: ErasureObservation) -> EventContent | None:  # noqa: ARG002 - as above
        """Nothing: the event comes with the finalizer's removal."""
        return None

    def reference(self, observation: ErasureObservation) -> ObjectReference:
        return observation.personalization.reference
