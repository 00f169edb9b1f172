"""The thin shell around the rules: reads what they need, applies what they decide, until nothing is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator import metrics
from likeness_operator.api_error import AlreadyExists, NotFound, Refused
from likeness_operator.api_server import ApiServer
from likeness_operator.condition import cut
from likeness_operator.decision import Action, CreateJob, DeleteJob, Observation, PatchJob, Profile
from likeness_operator.event import failure_event
from likeness_operator.job import job_name
from likeness_operator.observed import Job, Manifest, read_job, read_personalization, read_pod
from likeness_operator.profile import choose_profile
from likeness_operator.reconcile import reconcile
from likeness_operator.work_queue import Key

logger = logging.getLogger(__name__)

MOST_WRITES = 5
"""In one pass. More would mean that two rules undo each other's work."""


class Undecided(Exception):  # noqa: N818
    """The rules kept asking for writes; the key is tried again with back-off."""


@dataclass(frozen=True)
class Pass:
    """What a pass over one Personalization left behind."""

    finished: bool = False
    refused: bool = False
    """The API server did not take the Job; worth another try, later each time."""
    look_again_seconds: float | None = None
    wrote: str = ""
    """The resource version of the status written last."""


class Controller:
    def __init__(self, api: ApiServer, instance: str, now: Callable[[], datetime]) -> None:
        self._api = api
        self._instance = instance
        self._now = now

    async def look_at(self, key: Key) -> Pass:
        """Brings one Personalization as far as it goes now. Raises the errors of api_error.py."""
        try:
            manifest = await self._api.personalization(key.namespace, key.name)
        except NotFound:
            return Pass(finished=True)
        observation, wrote = await self._observe(manifest), ""
        for _ in range(MOST_WRITES):
            decision = reconcile(observation)
            if decision.action is not None:
                observation = await self._apply(observation, decision.action)
            elif decision.status is not None and decision.status != observation.personalization.status:
                manifest = await self._write_status(manifest, decision.status)
                observation = replace(observation, personalization=read_personalization(manifest))
                wrote = observation.personalization.resource_version
                await self._tell(observation)
            else:
                return Pass(
                    finished=observation.personalization.finished,
                    refused=observation.job_refusal is not None,
                    look_again_seconds=decision.look_again_seconds,
                    wrote=wrote,
                )
        raise Undecided(f"{MOST_WRITES} writes in one pass and no end; expected at most a few")

    async def _observe(self, manifest: Manifest) -> Observation:
        """Reads the Job before its pods: a Job that ended then always comes with the pods that made it end."""
        personalization = read_personalization(manifest)
        observation = Observation(personalization, self._now())
        if personalization.deleting:
            return observation
        job = await self._job(personalization.namespace, job_name(personalization.name, personalization.uid))
        if job is not None:
            pods = await self._api.pods(personalization.namespace, job.uid)
            return replace(observation, job=job, pods=tuple(read_pod(pod) for pod in pods))
        return await self._with_profile(observation)

    async def _with_profile(self, observation: Observation) -> Observation:
        spec = observation.personalization.spec
        if observation.personalization.finished or spec is None or spec.suspend:
            return observation
        return replace(observation, profile=await self._profile(spec.profile))

    async def _job(self, namespace: str, name: str) -> Job | None:
        try:
            return read_job(await self._api.job(namespace, name))
        except NotFound:
            return None

    async def _profile(self, wanted: str | None) -> Profile | Refusal:
        if wanted is None:
            return choose_profile(None, await self._api.profiles())
        try:
            return choose_profile(wanted, [await self._api.profile(wanted)])
        except NotFound:
            return choose_profile(wanted, [])

    async def _apply(self, observation: Observation, action: Action) -> Observation:
        match action:
            case CreateJob(manifest):
                return await self._create(observation, manifest)
            case PatchJob(job, spec):
                return replace(observation, job=await self._patch(observation, job, spec))
            case DeleteJob(job):
                return await self._delete(observation, job)

    async def _create(self, observation: Observation, manifest: Manifest) -> Observation:
        """Raises AlreadyExists where another one was quicker: then there is more to be read than the Job alone."""
        try:
            job = read_job(await self._api.create_job(manifest))
        except Refused as error:
            reason = Reason.QUOTA_EXCEEDED if error.over_quota else Reason.JOB_REFUSED
            logger.warning("the API server refused its Job: %s", error.message)
            return replace(observation, job_refusal=Waiting(reason=reason, message=cut(error.message), next_step=NEXT))
        metrics.JOBS_CREATED.inc()
        logger.info("created Job %s", job.name)
        return replace(observation, job=job)

    async def _patch(self, observation: Observation, job: Job, spec: Manifest) -> Job:
        """With the resourceVersion, so that a Job that changed since raises Conflict."""
        patch = {"metadata": {"uid": job.uid, "resourceVersion": job.resource_version}, "spec": spec}
        logger.info("setting %s of Job %s", spec, job.name)
        return read_job(await self._api.patch_job(observation.personalization.namespace, job.name, patch))

    async def _delete(self, observation: Observation, job: Job) -> Observation:
        namespace = observation.personalization.namespace
        logger.info("deleting Job %s", job.name)
        try:
            await self._api.delete_job(namespace, job.name, job.uid)
        except NotFound:
            logger.debug("Job %s is gone already", job.name)
        gone = replace(observation, job=await self._job(namespace, job.name), pods=())
        return await self._with_profile(gone) if gone.job is None else gone

    async def _write_status(self, manifest: Manifest, status: PersonalizationStatus) -> Manifest:
        """Without the empty lists that would only be noise in `kubectl get -o yaml`."""
        said = {field: value for field, value in status.to_json().items() if value != []}
        return await self._api.write_status(manifest, said)

    async def _tell(self, observation: Observation) -> None:
        """After the status, so that nobody hears of what is not yet true. A lost event loses no fact."""
        told = observation.personalization
        if not told.finished:
            return
        failure = told.status.failure
        reason = failure.reason if failure else told.status.conditions[0].reason
        metrics.FINISHED.labels(reason=reason).inc()
        logger.info("ended: %s", reason)
        if failure is None:
            return
        try:
            await self._api.create_event(failure_event(told, failure, self._instance, self._now()))
        except (AlreadyExists, Refused) as error:
            logger.info("event not created: %s", error)


NEXT = (
    "the message is the API server's: make room in the namespace's quota, or correct the TuningProfile's runtime;"
    " tried again with growing pauses"
)
