"""The thin shell around the rules: gathers what they need, applies what they decide, until nothing is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator import label, metrics
from likeness_operator.api_error import AlreadyExistsError, ConflictError, NotFoundError, RefusedError
from likeness_operator.api_server import ApiServer
from likeness_operator.condition import cut
from likeness_operator.decision import CreateJob, DeleteJob, Guard, Observation, PatchJob, Profile, Release
from likeness_operator.erase_job import erase_job_name
from likeness_operator.event import failure_event, last_seen, tombstone
from likeness_operator.job import job_name
from likeness_operator.observed import Job, Manifest, is_over, read_job, read_personalization, read_pod
from likeness_operator.profiles import Profiles
from likeness_operator.reconcile import reconcile
from likeness_operator.status import is_news
from likeness_operator.store import Seen, Store
from likeness_operator.turn import Group, Wish
from likeness_operator.work_queue import Key
from likeness_operator.workload import Workload, read_workload

logger = logging.getLogger(__name__)

MOST_WRITES = 5
"""In one pass. More would mean that two rules undo each other's work."""


class UndecidedError(Exception):
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
        self,
        api: ApiServer,
        store: Store,
        profiles: Profiles,
        instance: str,
        now: Callable[[], datetime],
        *,
        kueue: bool = False,
        progress_url: str | None = None,
    ) -> None:
        """`kueue`: whether Workloads may be asked for. `progress_url`: where pods are told to report to."""
        self._api = api
        self._store = store
        self._profiles = profiles
        self._instance = instance
        self._now = now
        self._kueue = kueue
        self._progress_url = progress_url

    async def look_at(self, key: Key) -> Pass:
        """Brings one Personalization as far as it goes now. Raises the errors of api_error.py."""
        try:
            return await self._look_at(key)
        finally:
            self._store.turns.passed(key)

    async def _look_at(self, key: Key) -> Pass:
        losses, asked = self._store.losses(key), False
        try:
            seen = await self._recall(key)
            if seen is None:
                self._store.distrust(key)
                seen, asked = await self._ask(key), True
        except NotFoundError:
            self._store.forget(key)
            await self._end_orphan(key, None)
            return Pass(finished=True)
        await self._end_orphan(key, seen.manifest["metadata"]["uid"])
        done, seen = await self._bring_on(key, seen, asked)
        self._store.remember(key, seen, losses, asked)
        return done

    async def _recall(self, key: Key) -> Seen | None:
        """What the store knows, or None where what follows from it had better rest on what is true now.

        A status can be written on it: if the Personalization has changed since, that is a Conflict. A Job can be
        created on it if the Personalization is still the same: the name is fixed, so one that is there already makes
        the second one impossible. All else is not to be taken back: changing a Job, calling it lost, giving up,
        erasing.
        """
        seen = self._store.recall(key)
        if seen is None:
            return None
        observation = await self._observe(seen)
        before, decision = observation.personalization, reconcile(observation)
        lost = before.status.job_ref is not None and observation.job is None
        if before.deleting or lost or (decision.status is not None and decision.status.failure is not None):
            return None
        if isinstance(decision.action, CreateJob):
            now = await self._api.personalization(key.namespace, key.name)
            return seen if now["metadata"]["resourceVersion"] == before.resource_version else None
        return None if decision.action is not None else seen

    async def _ask(self, key: Key) -> Seen:
        """Reads the Job before its pods: a Job that ended then always comes with the pods that made it end."""
        manifest = await self._api.personalization(key.namespace, key.name)
        uid = manifest["metadata"]["uid"]
        job = await self._job(key.namespace, job_name(key.name, uid))
        if "deletionTimestamp" not in manifest["metadata"]:
            pods = await self._api.pods(key.namespace, job.uid) if job else []
            return Seen(manifest, job, tuple(read_pod(pod) for pod in pods))
        eraser = await self._job(key.namespace, erase_job_name(key.name, uid))
        everybody = [read_pod(pod) for pod in await self._api.all_pods(key.namespace, key.name)]
        erasing = tuple(pod for pod in everybody if eraser and pod.owner_uid == eraser.uid)
        return Seen(manifest, job, tuple(pod for pod in everybody if pod not in erasing), eraser, erasing)

    async def _end_orphan(self, key: Key, uid: str | None) -> None:
        """An erase Job whose Personalization is gone would erase what a new one of the same name publishes."""
        eraser = self._store.eraser(key)
        if eraser is None or eraser.erases == uid or eraser.deleting:
            return
        logger.info("deleting Job %s: the Personalization that it erases for is gone", eraser.name)
        with suppress(NotFoundError, ConflictError):
            await self._api.delete_job(key.namespace, eraser.name, eraser.uid)

    async def _bring_on(self, key: Key, seen: Seen, asked: bool) -> tuple[Pass, Seen]:
        manifest, observation = seen.manifest, await self._observe(seen, surely=asked)
        for _ in range(MOST_WRITES):
            decision = reconcile(observation)
            if decision.asks_for_pod_refusal and observation.job:
                observation = await self._with_pod_refusal(observation, observation.job)
            elif decision.asks_for_workloads and observation.job:
                observation = replace(observation, workloads=await self._workloads(observation.job, key.namespace))
            elif decision.asks_for_namespace:
                observation = replace(observation, namespace_goes=await self._namespace_goes(observation))
            elif isinstance(decision.action, Guard | Release):
                manifest = await self._finalize(manifest, observation, decision.action)
                observation = replace(observation, personalization=read_personalization(manifest))
            elif decision.action is not None:
                observation = await self._apply(observation, decision.action)
            elif decision.status is not None and is_news(decision.status, observation.personalization.status):
                manifest = await self._write_status(manifest, decision.status)
                observation = replace(observation, personalization=read_personalization(manifest))
                self._store.wrote(key, observation.personalization.resource_version)
                await self._tell(observation)
            else:
                done = Pass(
                    finished=is_over(manifest),
                    refused=observation.job_refusal is not None,
                    look_again_seconds=decision.look_again_seconds,
                )
                return done, Seen(manifest, observation.job, observation.pods)
        raise UndecidedError(f"{MOST_WRITES} writes in one pass and no end; expected at most a few")

    async def _observe(self, seen: Seen, *, surely: bool = False) -> Observation:
        about, job = read_personalization(seen.manifest), seen.job
        key = Key(about.namespace, about.name)
        observation = Observation(
            about,
            self._now(),
            job,
            seen.pods,
            self._store.taken_away(key, job.uid) if job else (),
            eraser=seen.eraser,
            eraser_pods=seen.eraser_pods,
            progress=self._store.progress(key),
            progress_url=self._progress_url,
        )
        return await self._with_profile(observation, surely=surely)

    async def _with_profile(self, observation: Observation, *, surely: bool = False) -> Observation:
        """Where a Job may have to be made."""
        about = observation.personalization
        if about.deleting:
            needed = about.guarded and observation.eraser is None
        else:
            idle = observation.job is None or (observation.job.suspended and not observation.job.queued)
            needed = idle and not about.finished and not (about.spec and about.spec.suspend)
        if about.spec is None or not needed:
            return observation
        # The default profile may be another one since; what was published lies where the former one says.
        wanted = about.spec.profile or (about.status.profile if about.deleting else None)
        found = replace(observation, profile=await self._profiles.choose(wanted))
        return found if about.deleting else await self._with_turn(found, surely=surely)

    async def _with_turn(self, observation: Observation, *, surely: bool) -> Observation:
        """Whether it may start, where its profile has a limit. `surely`: by the API server's word."""
        about, profile = observation.personalization, observation.profile
        if not isinstance(profile, Profile) or profile.spec.max_concurrent is None:
            return observation
        key, group = Key(about.namespace, about.name), Group(about.namespace, profile.name)
        turns, wish = self._store.turns, Wish(key, about.created, group, profile.spec.max_concurrent)
        if not surely:
            return replace(observation, turn=turns.take(wish))
        listed_at = turns.moment()
        jobs = [read_job(job) for job in await self._api.unsuccessful_jobs(about.namespace, profile.name)]
        return replace(observation, turn=turns.confirm(wish, jobs, listed_at))

    async def _confirm_turn(self, observation: Observation) -> None:
        """Before a Job starts, for one too many cannot be taken back. Raises ConflictError where a watch is behind."""
        confirmed = await self._with_turn(observation, surely=True)
        if not confirmed.turn:
            raise ConflictError(409, "NotItsTurn", "others run that no watch has told of yet")

    async def _with_pod_refusal(self, observation: Observation, job: Job) -> Observation:
        said = await self._api.refusals(observation.personalization.namespace, job.uid)
        last = max(said, key=last_seen, default={})
        return replace(observation, pod_refusal=last.get("note", ""))

    async def _workloads(self, job: Job, namespace: str) -> tuple[Workload, ...]:
        if not self._kueue:
            return ()
        try:
            return tuple(read_workload(found) for found in await self._api.workloads(namespace, job.uid))
        except NotFoundError:
            return ()

    async def _namespace_goes(self, observation: Observation) -> bool:
        """We may not read namespaces. But nothing can be created in one that is being deleted, an event for example."""
        about = observation.personalization
        event = tombstone(about, Release(Reason.ERASED, "a rehearsal"), self._instance, self._now())
        try:
            await self._api.create_event(event, rehearsal=True)
        except RefusedError as error:
            return error.namespace_terminating
        except AlreadyExistsError:
            return False
        return False

    async def _job(self, namespace: str, name: str) -> Job | None:
        try:
            return read_job(await self._api.job(namespace, name))
        except NotFoundError:
            return None

    async def _finalize(self, manifest: Manifest, observation: Observation, action: Guard | Release) -> Manifest:
        """The Personalization with our finalizer, or without it: then it is gone, where there is no other one."""
        others = [name for name in manifest["metadata"].get("finalizers", []) if name != label.FINALIZER]
        if isinstance(action, Guard):
            return await self._api.set_finalizers(manifest, [*others, label.FINALIZER])
        logger.info("%s: %s", action.reason, action.note)
        about = observation.personalization
        await self._create_event(tombstone(about, action, self._instance, self._now()))
        try:
            return await self._api.set_finalizers(manifest, others)
        except NotFoundError:
            return manifest | {"metadata": manifest["metadata"] | {"finalizers": others}}

    async def _apply(self, observation: Observation, action: CreateJob | PatchJob | DeleteJob) -> Observation:
        if isinstance(action, CreateJob | PatchJob) and not observation.personalization.deleting:
            await self._confirm_turn(observation)
        match action:
            case CreateJob(manifest):
                return await self._create(observation, manifest)
            case PatchJob(job, spec):
                return replace(observation, job=await self._patch(observation, job, spec))
            case DeleteJob(job):
                return await self._delete(observation, job)

    async def _create(self, observation: Observation, manifest: Manifest) -> Observation:
        """Raises AlreadyExistsError where another one was quicker: then there is more to be read than the Job alone."""
        try:
            job = read_job(await self._api.create_job(manifest))
        except RefusedError as error:
            logger.warning("the API server refused its Job: %s", error.message)
            refusal = Waiting(reason=_reason(error), message=cut(error.told), next_step=NEXT)
            return replace(observation, job_refusal=refusal)
        if observation.personalization.deleting:
            logger.info("created Job %s to erase what was published", job.name)
            return replace(observation, eraser=job)
        self._store.turns.saw(observation.personalization.namespace, job)
        metrics.count_job(observation.personalization, self._now())
        logger.info("created Job %s", job.name)
        return replace(observation, job=job)

    async def _patch(self, observation: Observation, job: Job, spec: Manifest) -> Job:
        """With the resourceVersion, so that a Job that changed since raises ConflictError."""
        patch = {"metadata": {"uid": job.uid, "resourceVersion": job.resource_version}, "spec": spec}
        logger.info("setting %s of Job %s", spec, job.name)
        return read_job(await self._api.patch_job(observation.personalization.namespace, job.name, patch))

    async def _delete(self, observation: Observation, job: Job) -> Observation:
        namespace = observation.personalization.namespace
        logger.info("deleting Job %s", job.name)
        try:
            await self._api.delete_job(namespace, job.name, job.uid)
        except NotFoundError:
            logger.debug("Job %s is gone already", job.name)
        # Of one that is being deleted it matters when the pods have ended, not that they will.
        pods = observation.pods if observation.personalization.deleting else ()
        return await self._with_profile(replace(observation, job=await self._job(namespace, job.name), pods=pods))

    async def _write_status(self, manifest: Manifest, status: PersonalizationStatus) -> Manifest:
        """Without the empty lists that would only be noise in `kubectl get -o yaml`."""
        said = {field: value for field, value in status.to_json().items() if value != []}
        return await self._api.write_status(manifest, said)

    async def _tell(self, observation: Observation) -> None:
        """After the status, so that nobody hears of what is not yet true. A lost event loses no fact."""
        told = observation.personalization
        if not told.finished or told.deleting:
            return
        failure = told.status.failure
        reason = failure.reason if failure else told.status.conditions[0].reason
        metrics.count_end(told, reason, self._now())
        logger.info("ended: %s", reason)
        if failure is None:
            return
        await self._create_event(failure_event(told, failure, self._instance, self._now()))

    async def _create_event(self, event: Manifest) -> None:
        try:
            await self._api.create_event(event)
        except (AlreadyExistsError, RefusedError) as error:
            logger.info("event not created: %s", error)


NEXT = (
    "the message is the API server's: make room in the namespace's quota, or correct the TuningProfile's runtime;"
    " tried again with growing pauses"
)


def _reason(error: RefusedError) -> Reason:
    if error.namespace_terminating:
        return Reason.NAMESPACE_TERMINATING
    return Reason.QUOTA_EXCEEDED if error.over_quota else Reason.JOB_REFUSED
