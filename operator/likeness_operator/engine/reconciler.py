"""The thin shell around the rules: gathers what they need and does what they decide, until nothing is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from likeness_api.field import StatusModel
from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_operator.engine.decision import (
    AddFinalizer,
    CreateJob,
    Decision,
    DeleteJob,
    Fresh,
    PatchJob,
    Question,
    RemoveFinalizer,
    Unwatch,
    decide,
    freshness_needed,
)
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Lifecycle, Snapshot, Stages
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_error import AlreadyExistsError, ConflictError, NotFoundError, RefusedError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.event import EventContent, build_event
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.resource import Resource

logger = logging.getLogger(__name__)

UNPROCESSABLE = 422
"""The HTTP status of an object that does not fit its schema."""
JOB_REFUSED_NEXT_STEP = (
    "the message is the API server's: make room in the namespace's quota, or correct the TuningProfile's runtime;"
    " tried again with growing pauses"
)


class ObjectGoneError(NotFoundError):
    """The object that is reconciled is not there any more."""


class UndecidedError(Exception):
    """The rules kept asking for writes or answers; the key is tried again with back-off."""


@dataclass(frozen=True)
class ReconcileResult:
    """What one reconciliation of an object leaves to be done."""

    done: bool = False
    """Whether nothing is left to do about the object."""
    refused: bool = False
    """Whether the API server refused a Job; worth another try, later each time."""
    requeue_after_seconds: float | None = None
    """When to reconcile again though no watch may have reported anything; None for never."""


@dataclass
class _Reconciliation:
    """One object while it is reconciled."""

    key: Key
    resource: Resource
    lifecycle: Lifecycle[Any]
    snapshot: Snapshot
    observation: Any
    """The observation, of the type that `lifecycle` makes."""
    fresh: Fresh
    refused: bool = False


class Reconciler:
    """Reconciles objects of any kind. `stages` says how, by kind; `instance` is who events say reports them."""

    def __init__(
        self,
        api: ApiServer,
        cache: WatchCache,
        stages: Mapping[str, Stages],
        instance: str,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cache = cache
        self._stages = stages
        self._instance = instance
        self._now = now

    async def reconcile(self, key: Key) -> ReconcileResult:
        """Brings one object as far as it goes now. Raises the errors of api_error.py, and UndecidedError."""
        losses = self._cache.losses(key)
        try:
            return await self._reconcile(key, losses)
        finally:
            self._cache.limiter.release(key)

    async def _reconcile(self, key: Key, losses: int) -> ReconcileResult:
        try:
            run = await self._start(key)
            run, decision = await self._decide(run)
        except ObjectGoneError:
            self._cache.drop(key)
            await self._delete_orphan(key, None)
            return ReconcileResult(done=True)
        for _ in range(run.lifecycle.most_writes):
            if decision.action is not None:
                await self._act(run, decision)
            elif decision.status is not None and run.lifecycle.is_news(run.observation, decision.status):
                await self._write_status(run, decision.status)
            else:
                self._cache.put(key, run.snapshot, losses, complete=run.fresh is Fresh.EVERYTHING)
                done = self._stages[key.kind].kind.is_done(run.snapshot.manifest)
                return ReconcileResult(done, run.refused, decision.requeue_after_seconds)
            run, decision = await self._decide(run)
        raise UndecidedError(f"{run.lifecycle.most_writes} writes in one reconciliation and no end; expected fewer")

    async def _start(self, key: Key) -> _Reconciliation:
        """Starts from what the watches have reported, where that is complete and will do; else from the API server."""
        snapshot = self._cache.get(key)
        if snapshot is None or not self._stages[key.kind].of(snapshot.manifest).trusts_cache:
            return await self._read(key)
        return await self._observe(key, snapshot, Fresh.NOTHING)

    async def _read(self, key: Key) -> _Reconciliation:
        self._cache.invalidate(key)
        stages = self._stages[key.kind]
        manifest = await self._get(stages.kind.resource, key)
        snapshot = await stages.of(manifest).read(manifest)
        snapshot = replace(snapshot, removed_pods=self._cache.removed_pods(key))
        return await self._observe(key, snapshot, Fresh.EVERYTHING)

    async def _observe(self, key: Key, snapshot: Snapshot, fresh: Fresh) -> _Reconciliation:
        """Before anything is decided about this very object, nothing works for a namesake any more."""
        await self._delete_orphan(key, snapshot.manifest["metadata"]["uid"])
        stages = self._stages[key.kind]
        lifecycle: Lifecycle[Any] = stages.of(snapshot.manifest)
        return _Reconciliation(key, stages.kind.resource, lifecycle, snapshot, lifecycle.observe(snapshot), fresh)

    async def _decide(self, run: _Reconciliation) -> tuple[_Reconciliation, Decision[Any]]:
        """What the rules decide, on evidence that is fresh enough for it: that may be another reconciliation."""
        decision = await self._answered(run)
        if freshness_needed(decision) <= run.fresh:
            return run, decision
        if freshness_needed(decision) is Fresh.OBJECT and await self._is_unchanged(run):
            run.fresh = Fresh.OBJECT
            return run, decision
        run = await self._read(run.key)
        return run, await self._answered(run)

    async def _answered(self, run: _Reconciliation) -> Decision[Any]:
        """What the rules decide once their questions are answered, unless the decision needs fresher facts first."""
        rules = run.lifecycle.rules
        index, decision = decide(rules, run.observation)
        for _ in Question:
            if decision.question is None or freshness_needed(decision) > run.fresh:
                return decision
            fresh = run.fresh is Fresh.EVERYTHING
            run.observation = await run.lifecycle.answer(run.observation, decision.question, fresh=fresh)
            index, decision = decide(rules, run.observation, index)
        if decision.question is not None:
            raise UndecidedError(f"a rule asks for {decision.question.name} again; expected each question once")
        return decision

    async def _is_unchanged(self, run: _Reconciliation) -> bool:
        now = await self._get(run.resource, run.key)
        return bool(now["metadata"]["resourceVersion"] == run.snapshot.manifest["metadata"]["resourceVersion"])

    async def _get(self, resource: Resource, key: Key) -> K8sObject:
        """Raises ObjectGoneError: no other 404 says that there is nothing left to reconcile."""
        try:
            return await self._api.get(resource, key.namespace, key.name)
        except NotFoundError as error:
            raise ObjectGoneError(error.status, error.reason, error.message) from None

    async def _delete_orphan(self, key: Key, uid: str | None) -> None:
        """A Job that still works for an object that is gone would erase what a new one of the same name publishes."""
        job = self._cache.unowned_job(key)
        if job is None or job.works_for_uid == uid or job.terminating:
            return
        logger.info("deleting Job %s: the object that it works for is gone", job.name)
        with suppress(NotFoundError, ConflictError):
            await self._api.delete_job(key.namespace, job.name, job.uid)

    async def _act(self, run: _Reconciliation, decision: Decision[Any]) -> None:
        """Carries out the action of a decision; afterwards the observation shows what came of it."""
        match decision.action:
            case CreateJob() as action:
                await run.lifecycle.confirm(run.observation, action)
                await self._create(run, action)
            case PatchJob() as action:
                await run.lifecycle.confirm(run.observation, action)
                await self._patch(run, action)
            case DeleteJob(job):
                await self._delete(run, job)
            case AddFinalizer():
                finalizers = [*_other_finalizers(run.snapshot.manifest), label.FINALIZER]
                self._wrote(run, await self._api.set_finalizers(run.resource, run.snapshot.manifest, finalizers))
            case RemoveFinalizer(event):
                await self._remove_finalizer(run, event)
            case Unwatch():
                status = run.snapshot.manifest["status"] | {"unwatched": True}
                self._wrote(run, await self._api.write_status(run.resource, run.snapshot.manifest, status))
                self._cache.wrote(run.key, run.snapshot.manifest["metadata"]["resourceVersion"])

    async def _create(self, run: _Reconciliation, action: CreateJob) -> None:
        """Raises AlreadyExistsError where another one was quicker: then there is more to be read than the Job alone."""
        try:
            job = read_job(await self._api.create_job(action.manifest))
        except AlreadyExistsError:
            name, kind = action.manifest["metadata"]["name"], self._stages[run.key.kind].kind
            if not kind.reads_jobs_by_label or await self._is_ours(run.key.namespace, name):
                raise
            message = f"there is a Job {name} that is not ours; expected none of that name"
            waiting = Waiting(reason=Reason.JOB_NAME_TAKEN, message=message, next_step="delete that Job")
            run.observation, run.refused = run.lifecycle.with_job_refusal(run.observation, waiting), True
            return
        except RefusedError as error:
            logger.warning("the API server refused its Job: %s", error.message)
            message = truncate(error.user_message)
            waiting = Waiting(reason=_reason(error), message=message, next_step=JOB_REFUSED_NEXT_STEP)
            run.observation, run.refused = run.lifecycle.with_job_refusal(run.observation, waiting), True
            return
        if job.works_for_uid is None and self._stages[run.key.kind].kind.takes_slots:
            self._cache.limiter.observe_job(run.key.namespace, job)
        run.lifecycle.report_job(run.observation, job)
        self._has_job(run, job.name, job)

    async def _is_ours(self, namespace: str, name: str) -> bool:
        """Whether a Job has one of our labels; also where it is gone by now."""
        try:
            labels = (await self._api.job(namespace, name))["metadata"].get("labels", {})
        except NotFoundError:
            return True
        return label.PERSONALIZATION_NAME in labels or label.BATCH_NAME in labels

    async def _patch(self, run: _Reconciliation, action: PatchJob) -> None:
        """With the resourceVersion, so that a Job that changed since raises ConflictError."""
        job = action.job
        patch = {"metadata": {"uid": job.uid, "resourceVersion": job.resource_version}, "spec": action.spec}
        logger.info("setting %s of Job %s", action.spec, job.name)
        self._has_job(run, job.name, read_job(await self._api.patch_job(run.key.namespace, job.name, patch)))

    async def _delete(self, run: _Reconciliation, job: Job) -> None:
        logger.info("deleting Job %s", job.name)
        try:
            await self._api.delete_job(run.key.namespace, job.name, job.uid)
        except NotFoundError:
            logger.debug("Job %s is gone already", job.name)
        try:
            left = read_job(await self._api.job(run.key.namespace, job.name))
        except NotFoundError:
            left = None
        self._has_job(run, job.name, left)

    async def _remove_finalizer(self, run: _Reconciliation, event: EventContent) -> None:
        """The object is gone then, where there is no other finalizer."""
        logger.info("%s: %s", event.reason, event.note)
        await self._create_event(run, event)
        manifest, others = run.snapshot.manifest, _other_finalizers(run.snapshot.manifest)
        try:
            self._wrote(run, await self._api.set_finalizers(run.resource, manifest, others))
        except NotFoundError:
            self._wrote(run, manifest | {"metadata": manifest["metadata"] | {"finalizers": others}})

    async def _write_status(self, run: _Reconciliation, status: StatusModel) -> None:
        """Without the empty lists that would only be noise in `kubectl get -o yaml`. Events follow the status, so that
        nobody hears of what is not yet true; a lost event loses no fact.
        """
        try:
            self._wrote(run, await self._put_status(run, status))
        except RefusedError as error:
            if error.status != UNPROCESSABLE:
                raise
            # Our own schema refuses our own status: a bug. Tried again, it would be refused for ever, and nobody told.
            logger.error("its status was refused: %s", error.message)
            self._wrote(run, await self._put_status(run, run.lifecycle.refused_status(run.observation, error.message)))
        self._cache.wrote(run.key, run.snapshot.manifest["metadata"]["resourceVersion"])
        event = run.lifecycle.report_status(run.observation)
        if event is not None:
            await self._create_event(run, event)

    async def _put_status(self, run: _Reconciliation, status: StatusModel) -> K8sObject:
        written = {field: value for field, value in status.to_json().items() if value != []}
        return await self._api.write_status(run.resource, run.snapshot.manifest, written)

    async def _create_event(self, run: _Reconciliation, content: EventContent) -> None:
        about = run.lifecycle.reference(run.observation)
        try:
            await self._api.create_event(build_event(about, content, self._instance, self._now()))
        except (AlreadyExistsError, RefusedError) as error:
            logger.info("event not created: %s", error)

    def _wrote(self, run: _Reconciliation, manifest: K8sObject) -> None:
        run.snapshot = replace(run.snapshot, manifest=manifest)
        run.observation = run.lifecycle.with_object(run.observation, manifest)

    def _has_job(self, run: _Reconciliation, name: str, job: Job | None) -> None:
        run.snapshot = run.snapshot.with_job(name, job)
        run.observation = run.lifecycle.with_jobs(run.observation, run.snapshot)


def _other_finalizers(manifest: K8sObject) -> list[str]:
    return [name for name in manifest["metadata"].get("finalizers", []) if name != label.FINALIZER]


def _reason(error: RefusedError) -> Reason:
    if error.namespace_terminating:
        return Reason.NAMESPACE_TERMINATING
    return Reason.QUOTA_EXCEEDED if error.over_quota else Reason.JOB_REFUSED
