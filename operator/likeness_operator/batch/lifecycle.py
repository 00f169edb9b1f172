"""A PersonalizationBatch as long as it lives: what the engine needs to know to bring it to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from likeness_api.field import StatusModel
from likeness_api.personalization import Waiting
from likeness_api.personalization_batch import MOST_WORKERS, PersonalizationBatchStatus
from likeness_api.reason import Reason
from likeness_operator import metrics
from likeness_operator.batch import status as say
from likeness_operator.batch.facts import BATCH_KIND, Batch, batch_profile_name, is_batch_done, read_batch
from likeness_operator.batch.job import place_of
from likeness_operator.batch.observation import BatchObservation
from likeness_operator.batch.rules import RULES
from likeness_operator.batch.scale import BatchPace, eta, workers_wanted
from likeness_operator.batch.shard_ledgers import ShardLedgers
from likeness_operator.engine.decision import CreateJob, PatchJob, Question, Rule
from likeness_operator.engine.key import Key
from likeness_operator.engine.lifecycle import Snapshot, WatchedKind
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.event import EventContent, ObjectReference
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import read_pod
from likeness_operator.kubernetes.resource import Resource
from likeness_operator.personalization.profiles import Profiles

logger = logging.getLogger(__name__)

MOST_PARTS = 2 * MOST_WORKERS + 20
"""Jobs: as many as may work, and those that ended lately."""
PERSONALIZATION_BATCH = WatchedKind(
    Resource(BATCH_KIND, "personalizationbatches"),
    label.BATCH_NAME,
    is_batch_done,
    batch_profile_name,
    most_parts=MOST_PARTS,
    reads_jobs_by_label=True,
)


@dataclass(frozen=True)
class BatchLifecycle:
    """Implements `Lifecycle` for live batches."""

    api: ApiServer
    profiles: Profiles
    ledgers: ShardLedgers
    now: Callable[[], datetime]
    progress_url: str | None = None
    """Where pods report to; shards are handed out beside it. None for nowhere: then no batch is accepted."""
    rules: Sequence[Rule[BatchObservation]] = RULES
    trusts_cache: bool = True
    most_writes: int = MOST_WORKERS + 20
    """All workers are created at once."""

    async def read(self, manifest: K8sObject) -> Snapshot:
        """Reads the Jobs before their pods: a Job that ended then always comes with the pod that made it end."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        jobs = await self.api.labelled_jobs(namespace, label.BATCH_NAME, name, MOST_PARTS)
        pods = await self.api.labelled_pods(namespace, label.BATCH_NAME, name, MOST_PARTS)
        return Snapshot(manifest, tuple(map(read_job, jobs)), tuple(map(read_pod, pods)))

    def observe(self, snapshot: Snapshot) -> BatchObservation:
        batch = read_batch(snapshot.manifest)
        observation = BatchObservation(batch, self.now(), progress_url=self.progress_url)
        return self._measured(self.with_jobs(observation, snapshot))

    def with_object(self, observation: BatchObservation, manifest: K8sObject) -> BatchObservation:
        batch, before = read_batch(manifest), observation.status
        if before.shards is None and batch.status.shards is not None:
            self.ledgers.begun_here(batch, len(batch.status.passes) - 1)
        return self._measured(replace(observation, batch=batch))

    def with_jobs(self, observation: BatchObservation, snapshot: Snapshot) -> BatchObservation:
        batch = observation.batch
        jobs = tuple(job for job in snapshot.jobs if job.owner_uid == batch.uid or place_of(batch, job))
        return replace(observation, jobs=jobs, pods=(*snapshot.pods, *snapshot.removed_pods))

    def with_job_refusal(self, observation: BatchObservation, waiting: Waiting) -> BatchObservation:
        return replace(observation, job_refusal=waiting)

    async def answer(
        self,
        observation: BatchObservation,
        question: Question,
        *,
        fresh: bool,  # noqa: ARG002 - part of the protocol
    ) -> BatchObservation:
        batch = observation.batch
        assert question is Question.PROFILE, f"no rule for a batch asks for {question.name}"
        assert batch.spec is not None
        profile = await self.profiles.choose(batch.spec.template.profile, batch.namespace)
        return replace(observation, profile=profile)

    async def confirm(self, observation: BatchObservation, action: CreateJob | PatchJob) -> None:
        """A batch's Jobs need no slot: their number is in its spec."""

    def is_news(self, observation: BatchObservation, status: StatusModel) -> bool:
        assert isinstance(status, PersonalizationBatchStatus)
        before = observation.batch.written
        if say.says_more(status, before):
            return True
        return status != before and self.ledgers.may_write(_key(observation.batch))

    def refused_status(self, observation: BatchObservation, message: str) -> StatusModel:
        message = truncate(f"its status was not taken: {message}")
        return say.ended(observation, succeeded=False, reason=Reason.RESULT_INVALID, message=message)

    def report_job(self, observation: BatchObservation, job: Job) -> None:  # noqa: ARG002 - part of the protocol
        logger.info("created Job %s", job.name)
        metrics.JOBS_CREATED.inc()

    def report_status(self, observation: BatchObservation) -> EventContent | None:
        batch = observation.batch
        self.ledgers.wrote(_key(batch))
        if not batch.finished:
            return None
        end = batch.status.conditions[0]
        metrics.BATCHES_FINISHED.labels(reason=end.reason).inc()
        logger.info("ended: %s: %s", end.reason, end.message)
        note = f"revision {batch.revision}: {end.message}"
        kind: Literal["Warning", "Normal"] = "Warning" if end.type == "Failed" else "Normal"
        return EventContent(kind, end.reason, "Finish", note, of=f" {batch.revision}")

    def reference(self, observation: BatchObservation) -> ObjectReference:
        return observation.batch.reference

    def _measured(self, observation: BatchObservation) -> BatchObservation:
        """With what its workers have reported, and how many of them there should be."""
        batch = observation.batch
        ledger = self.ledgers.observe(batch)
        if ledger is None or batch.spec is None or batch.status.plan is None:
            return replace(observation, reported=None, workers_wanted=0)
        reported, spec = self.ledgers.reported(ledger), batch.spec
        subjects = max(0, batch.status.plan.subjects - reported.succeeded - reported.failed)
        present = len(observation.living_workers())
        ledger.last_pass = len(batch.status.passes) == len(spec.passes)
        pace, goal = (
            BatchPace(subjects, reported.useful_workers, reported.per_worker_second),
            say.worker_goal(observation),
        )
        ledger.wanted = workers_wanted(pace, present, goal, observation.now)
        done_at = eta(pace, len(observation.running_workers()), goal, observation.now)
        ledger.late = bool(goal.complete_by and done_at and done_at > goal.complete_by)
        return replace(observation, reported=reported, workers_wanted=ledger.wanted)


def _key(batch: Batch) -> Key:
    return Key(BATCH_KIND, batch.namespace, batch.name)
