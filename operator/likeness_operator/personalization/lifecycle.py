"""A Personalization as long as it lives: what the engine needs to know to bring it to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.field import StatusModel
from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_operator.engine.concurrency_limiter import (
    ConcurrencyLimiter,
    LimitGroup,
    SlotRequest,
    occupies_slot,
)
from likeness_operator.engine.decision import CreateJob, PatchJob, Question, Rule
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Snapshot, WatchedKind
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_error import ConflictError, NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.event import EventContent, ObjectReference, last_seen
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import read_pod
from likeness_operator.kubernetes.resource import Resource
from likeness_operator.kubernetes.workload import Workload, read_workload
from likeness_operator.personalization.facts import KIND, is_done, profile_name, read_personalization
from likeness_operator.personalization.job import job_name
from likeness_operator.personalization.observation import Observation
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.profiles import Profiles
from likeness_operator.personalization.progress import ProgressTracker
from likeness_operator.personalization.report import count_end, count_job, failure_event
from likeness_operator.personalization.rules import RULES
from likeness_operator.personalization.status import is_news, unwritable_status

logger = logging.getLogger(__name__)

PERSONALIZATION = WatchedKind(
    Resource(KIND, "personalizations"),
    label.PERSONALIZATION_NAME,
    is_done,
    profile_name,
    field_selector=label.WATCHED,
    takes_slots=True,
)


@dataclass(frozen=True)
class TuningLifecycle:
    """Implements `Lifecycle` for live Personalizations."""

    api: ApiServer
    profiles: Profiles
    limiter: ConcurrencyLimiter
    progress: ProgressTracker
    now: Callable[[], datetime]
    kueue: bool = False
    """Whether the operator may ask for Kueue's Workloads."""
    progress_url: str | None = None
    """Where pods report their progress to; None for nowhere."""
    rules: Sequence[Rule[Observation]] = RULES
    trusts_cache: bool = True
    most_writes: int = 5

    async def read(self, manifest: K8sObject) -> Snapshot:
        """Reads the Job before its pods: a Job that ended then always comes with the pods that made it end."""
        metadata = manifest["metadata"]
        try:
            job = read_job(await self.api.job(metadata["namespace"], job_name(metadata["name"], metadata["uid"])))
        except NotFoundError:
            return Snapshot(manifest)
        pods = await self.api.pods(metadata["namespace"], job.uid)
        return Snapshot(manifest, (job,), tuple(read_pod(pod) for pod in pods))

    def observe(self, snapshot: Snapshot) -> Observation:
        about = read_personalization(snapshot.manifest)
        key = Key(KIND, about.namespace, about.name)
        observation = Observation(
            about, self.now(), progress=self.progress.progress(key), progress_url=self.progress_url
        )
        return self.with_jobs(observation, snapshot)

    def with_object(self, observation: Observation, manifest: K8sObject) -> Observation:
        return replace(observation, personalization=read_personalization(manifest))

    def with_jobs(self, observation: Observation, snapshot: Snapshot) -> Observation:
        about = observation.personalization
        job = snapshot.job(job_name(about.name, about.uid))
        # Without a Job they stay what they were: it may be we who deleted it, and no status has told of them yet.
        removed = observation.removed_pods
        if job is not None:
            removed = tuple(pod for pod in snapshot.removed_pods if pod.owner_uid == job.uid)
        return replace(observation, job=job, pods=snapshot.pods_of(job), removed_pods=removed)

    def with_job_refusal(self, observation: Observation, waiting: Waiting) -> Observation:
        return replace(observation, job_refusal=waiting)

    async def answer(self, observation: Observation, question: Question, *, fresh: bool) -> Observation:
        about, job = observation.personalization, observation.job
        match question:
            case Question.PROFILE:
                assert about.spec is not None
                return replace(observation, profile=await self.profiles.choose(about.spec.profile, about.namespace))
            case Question.SLOT:
                return replace(observation, slot=await self._slot(observation, fresh=fresh))
            case Question.POD_REFUSAL:
                assert job is not None
                return replace(observation, pod_refusal=await self._pod_refusal(about.namespace, job))
            case Question.WORKLOADS:
                assert job is not None
                return replace(observation, workloads=await self._workloads(about.namespace, job))
        raise AssertionError(f"no rule for a live Personalization asks for {question.name}")

    async def confirm(self, observation: Observation, action: CreateJob | PatchJob) -> None:  # noqa: ARG002
        """One Job too many cannot be taken back, so the API server says how many there are before one starts."""
        if observation.slot is not None and not await self._slot(observation, fresh=True):
            raise ConflictError(409, "NoSlot", "others run that no watch has reported yet")

    def is_news(self, observation: Observation, status: StatusModel) -> bool:
        assert isinstance(status, PersonalizationStatus)
        return is_news(status, observation.personalization.status)

    def refused_status(self, observation: Observation, message: str) -> StatusModel:
        return unwritable_status(observation.personalization, self.now(), message)

    def report_job(self, observation: Observation, job: Job) -> None:
        logger.info("created Job %s", job.name)
        count_job(observation.personalization, self.now())

    def report_status(self, observation: Observation) -> EventContent | None:
        about = observation.personalization
        if not about.finished:
            return None
        failure = about.status.failure
        reason = failure.reason if failure else about.status.conditions[0].reason
        count_end(about, reason, self.now())
        logger.info("ended: %s", reason)
        return failure_event(failure) if failure else None

    def reference(self, observation: Observation) -> ObjectReference:
        return observation.personalization.reference

    async def _slot(self, observation: Observation, *, fresh: bool) -> bool:
        about, profile = observation.personalization, observation.profile
        assert isinstance(profile, Profile)
        assert profile.spec.max_concurrent is not None
        key, group = Key(KIND, about.namespace, about.name), LimitGroup(about.namespace, profile.name)
        request = SlotRequest(key, about.created, group, profile.spec.max_concurrent)
        if not fresh:
            return self.limiter.acquire(request)
        listed_at, running = self.limiter.tick(), list[Job]()
        async for manifest in self.api.unsuccessful_jobs(about.namespace, profile.name):
            if occupies_slot(job := read_job(manifest)):
                running.append(job)
            if len(running) >= request.limit:
                return self.limiter.confirm(request, running)  # however many there are
        return self.limiter.confirm(request, running, listed_at)

    async def _pod_refusal(self, namespace: str, job: Job) -> str:
        """The Job controller's last sentence about a pod that it could not create; "" where there is none."""
        last = max(await self.api.pod_refusals(namespace, job.uid), key=last_seen, default={})
        return str(last.get("note", ""))

    async def _workloads(self, namespace: str, job: Job) -> tuple[Workload, ...]:
        if not self.kueue:
            return ()
        try:
            return tuple(read_workload(found) for found in await self.api.workloads(namespace, job.uid))
        except NotFoundError:
            return ()
