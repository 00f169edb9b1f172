"""The thin shell around the rules: gathers what they need, applies what they decide, until nothing is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator import metrics
from likeness_operator.api_error import AlreadyExists, NotFound, Refused
from likeness_operator.api_server import ApiServer
from likeness_operator.condition import cut
from likeness_operator.decision import Action, CreateJob, DeleteJob, Observation, PatchJob
from likeness_operator.event import failure_event, last_seen
from likeness_operator.job import job_name
from likeness_operator.observed import Job, Manifest, read_job, read_personalization, read_pod
from likeness_operator.profiles import Profiles
from likeness_operator.reconcile import reconcile
from likeness_operator.store import Seen, Store
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


class Controller:
    def __init__(
        self, api: ApiServer, store: Store, profiles: Profiles, instance: str, now: Callable[[], datetime]
    ) -> None:
        self._api = api
        self._store = store
        self._profiles = profiles
        self._instance = instance
        self._now = now

    async def look_at(self, key: Key) -> Pass:
        """Brings one Personalization as far as it goes now. Raises the errors of api_error.py."""
        losses, asked = self._store.losses(key), False
        try:
            seen = await self._recall(key)
            if seen is None:
                self._store.distrust(key)
                seen, asked = await self._ask(key), True
        except NotFound:
            self._store.forget(key)
            return Pass(finished=True)
        done, seen = await self._bring_on(key, seen)
        self._store.remember(key, seen, losses, asked)
        return done

    async def _recall(self, key: Key) -> Seen | None:
        """What the store knows, or None where what follows from it had better rest on what is true now.

        A status can be written on it: if the Personalization has changed since, that is a Conflict. A Job can be
        created on it if the Personalization is still the same: the name is fixed, so one that is there already makes
        the second one impossible. All else is not to be taken back: changing a Job, calling it lost, giving up.
        """
        seen = self._store.recall(key)
        if seen is None:
            return None
        observation = await self._observe(seen)
        before, decision = observation.personalization, reconcile(observation)
        lost = before.status.job_ref is not None and observation.job is None
        if lost or (decision.status is not None and decision.status.failure is not None):
            return None
        if isinstance(decision.action, CreateJob):
            now = await self._api.personalization(key.namespace, key.name)
            return seen if now["metadata"]["resourceVersion"] == before.resource_version else None
        return None if decision.action is not None else seen

    async def _ask(self, key: Key) -> Seen:
        """Reads the Job before its pods: a Job that ended then always comes with the pods that made it end."""
        manifest = await self._api.personalization(key.namespace, key.name)
        job = await self._job(key.namespace, job_name(key.name, manifest["metadata"]["uid"]))
        pods = await self._api.pods(key.namespace, job.uid) if job else []
        return Seen(manifest, job, tuple(read_pod(pod) for pod in pods))

    async def _bring_on(self, key: Key, seen: Seen) -> tuple[Pass, Seen]:
        manifest, observation = seen.manifest, await self._observe(seen)
        for _ in range(MOST_WRITES):
            decision = reconcile(observation)
            if decision.asks_for_pod_refusal and observation.job:
                observation = await self._with_pod_refusal(observation, observation.job)
            elif decision.action is not None:
                observation = await self._apply(observation, decision.action)
            elif decision.status is not None and decision.status != observation.personalization.status:
                manifest = await self._write_status(manifest, decision.status)
                observation = replace(observation, personalization=read_personalization(manifest))
                self._store.wrote(key, observation.personalization.resource_version)
                await self._tell(observation)
            else:
                done = Pass(
                    finished=observation.personalization.finished,
                    refused=observation.job_refusal is not None,
                    look_again_seconds=decision.look_again_seconds,
                )
                return done, Seen(manifest, observation.job, observation.pods)
        raise Undecided(f"{MOST_WRITES} writes in one pass and no end; expected at most a few")

    async def _observe(self, seen: Seen) -> Observation:
        observation = Observation(read_personalization(seen.manifest), self._now(), seen.job, seen.pods)
        return observation if seen.job else await self._with_profile(observation)

    async def _with_profile(self, observation: Observation) -> Observation:
        about = observation.personalization
        if about.finished or about.deleting or about.spec is None or about.spec.suspend:
            return observation
        return replace(observation, profile=await self._profiles.choose(about.spec.profile))

    async def _with_pod_refusal(self, observation: Observation, job: Job) -> Observation:
        said = await self._api.refusals(observation.personalization.namespace, job.uid)
        last = max(said, key=last_seen, default={})
        return replace(observation, pod_refusal=last.get("note", ""))

    async def _job(self, namespace: str, name: str) -> Job | None:
        try:
            return read_job(await self._api.job(namespace, name))
        except NotFound:
            return None

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
            return replace(observation, job_refusal=Waiting(reason=reason, message=cut(error.told), next_step=NEXT))
        metrics.count_job(observation.personalization, self._now())
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
        metrics.count_end(told, reason, self._now())
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
