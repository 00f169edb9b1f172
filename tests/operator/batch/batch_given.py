"""Builders of what the operator observes of a batch: manifests as the API server gives them, read as the operator reads
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from given import LONG_AGO, NAMESPACE, NOW, a_pod, a_profile
from likeness_api.accept import Refusal
from likeness_api.batch_order import accept_batch
from likeness_api.batch_result import BatchResult
from likeness_api.field import timestamp
from likeness_api.personalization_batch import (
    BatchPlanStatus,
    Counts,
    PassProgress,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.reason import Reason
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_operator.batch.facts import BATCH_KIND, Batch, read_batch
from likeness_operator.batch.job import JobPlace, Role, build_batch_job
from likeness_operator.batch.observation import BatchObservation, Reported
from likeness_operator.batch.rules import RULES, BatchDecision
from likeness_operator.batch.shard_ledger import ShardLedger
from likeness_operator.engine.decision import CreateJob, Rule, decide
from likeness_operator.kubernetes.cut import cut
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.profile import Profile

BATCH, BATCH_UID = "autumn", "0c0ffee0-0000-4000-8000-0000000000b1"
BATCH_SPEC: K8sObject = {
    "source": {"manifest": "s3://catalogue/autumn.jsonl"},
    "template": {"profile": "sd15", "output": "s3://artifacts/shop"},
    "workers": {"min": 1, "max": 4},
}
URL = "http://likeness-operator.system.svc:8081/progress"
PLANNER, COLLECTOR = JobPlace(Role.PLANNER, 0), JobPlace(Role.COLLECTOR, 0)
PLANNED = BatchResult(
    reason=Reason.PLANNED, message="100 subjects to tune in 4 shards", lines=100, planned=100, shards=4
)
COLLECTED = BatchResult(reason=Reason.COLLECTED, message="all", lines=100, succeeded=97, failed=3, shards=4)


def a_manifest(
    spec: K8sObject | None = None, status: PersonalizationBatchStatus | None = None, **metadata: Any
) -> K8sObject:
    about = {
        "name": BATCH,
        "namespace": NAMESPACE,
        "uid": BATCH_UID,
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": timestamp(LONG_AGO),
    }
    manifest = {"kind": BATCH_KIND, "metadata": about | metadata, "spec": BATCH_SPEC | (spec or {})}
    return cut(manifest | ({"status": status.to_json()} if status else {}))


def a_batch(spec: K8sObject | None = None, status: PersonalizationBatchStatus | None = None, **metadata: Any) -> Batch:
    return read_batch(a_manifest(spec, status, **metadata))


def a_status(**changes: Any) -> PersonalizationBatchStatus:
    """Of a batch whose source was read: 100 subjects in 4 shards."""
    planned = PersonalizationBatchStatus(
        revision=1,
        profile="sd15",
        plan=BatchPlanStatus(lines=100, subjects=100),
        counts=Counts(total=100, pending=100),
        passes=[PassProgress(steps=12)],
        shards=Shards(total=4),
    )
    return planned.model_copy(update=changes)


ACCEPTED = PersonalizationBatchStatus(revision=1, profile="sd15")
ALL_DONE = Shards(total=4, done="0-3", succeeded=97, failed=3)


def built(
    place: JobPlace = PLANNER,
    batch: Batch | None = None,
    profile: Profile | None = None,
) -> K8sObject:
    """The manifest of a Job, as the operator sends it."""
    batch, profile = batch or a_batch(), profile or a_profile()
    assert batch.spec is not None
    order = accept_batch(batch.name, batch.namespace, batch.spec, profile.spec)
    assert not isinstance(order, Refusal), order
    manifest = build_batch_job(batch, place, profile.name, profile.spec, order, progress_url=URL)
    copied: K8sObject = json.loads(json.dumps(manifest))
    return copied


def a_batch_job(
    place: JobPlace,
    *true_conditions: str,
    reason: str = "",
    batch: Batch | None = None,
    profile: Profile | None = None,
    age_seconds: float = 3600,
    unfinished: bool = False,
    **metadata: Any,
) -> Job:
    """The Job that the operator builds for that place, as it is some time later."""
    manifest = built(replace(place, unfinished=unfinished), batch, profile)
    manifest["metadata"] |= {
        "uid": f"uid-of-{manifest['metadata']['name']}",
        "resourceVersion": "8",
        "creationTimestamp": timestamp(NOW - timedelta(seconds=age_seconds)),
    }
    manifest["metadata"] |= metadata
    manifest["status"] = {
        "conditions": [{"type": kind, "status": "True", "reason": reason, "message": ""} for kind in true_conditions]
    }
    return read_job(cut(manifest))


def a_worker(number: int, *true_conditions: str, **more: Any) -> Job:
    return a_batch_job(JobPlace(Role.WORKER, number), *true_conditions, **more)


def pod_of(job: Job, phase: str = "Running", *, message: str | BatchResult = "", **more: Any) -> Pod:
    """The pod of a Job. An exit code makes it Succeeded or Failed."""
    text = message.encode().decode() if isinstance(message, BatchResult) else message
    more = {"name": f"{job.name}-x"} | more
    return replace(a_pod(phase, message=text, **more), owner_uid=job.uid)


def crashed(number: int, *, seconds_ago: float = 60, message: str | BatchResult = "", **more: Any) -> tuple[Job, Pod]:
    """A worker that failed."""
    job = a_worker(number, "Failed", reason="BackoffLimitExceeded")
    return job, pod_of(job, message=message, ended_seconds_ago=seconds_ago, **({"exit_code": 1} | more))


def a_reported(**changes: Any) -> Reported:
    """As the workers have reported nothing yet of four shards."""
    nothing = Reported(
        shards=Shards(total=4),
        succeeded=0,
        failed=0,
        running=0,
        gpu_seconds=0,
        failures=[],
        per_worker_second=None,
        seconds_since_progress=None,
        shards_left=4,
        useful_workers=4,
    )
    return replace(nothing, **changes)


def all_reported(**changes: Any) -> Reported:
    return a_reported(
        **{"shards": ALL_DONE, "succeeded": 97, "failed": 3, "shards_left": 0, "useful_workers": 0} | changes
    )


def an_observation(
    batch: Batch | None = None, *parts: Job | tuple[Job, Pod], pods: tuple[Pod, ...] = (), **more: Any
) -> BatchObservation:
    """With the answer about its profile; a Job may come with its pod."""
    jobs = tuple(part[0] if isinstance(part, tuple) else part for part in parts)
    theirs = tuple(part[1] for part in parts if isinstance(part, tuple))
    answered: dict[str, Any] = {"profile": a_profile(), "progress_url": URL} | more
    return BatchObservation(batch or a_batch(), NOW, jobs, (*theirs, *pods), **answered)


def at_work(
    *parts: Job | tuple[Job, Pod], status: PersonalizationBatchStatus | None = None, **more: Any
) -> BatchObservation:
    """One whose source was read, and of which nothing is done yet."""
    batch = a_batch(more.pop("spec", None), status or a_status())
    told: dict[str, Any] = {"reported": a_reported(), "workers_wanted": 2} | more
    return an_observation(batch, *parts, **told)


def all_done(*parts: Job | tuple[Job, Pod], **more: Any) -> BatchObservation:
    status = more.pop("status", None) or a_status(shards=ALL_DONE)
    return at_work(*parts, status=status, **{"reported": all_reported(), "workers_wanted": 0} | more)


def reconcile(observation: BatchObservation) -> BatchDecision:
    decision: BatchDecision = decide(RULES, observation)[1]
    return decision


def rule_of(observation: BatchObservation) -> Rule[BatchObservation]:
    """Which rule decides."""
    return RULES[decide(RULES, observation)[0]]


def status_of(decision: BatchDecision) -> PersonalizationBatchStatus:
    assert decision.action is None
    assert decision.status is not None
    return decision.status


def conditions(decision: BatchDecision) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {condition.type: (condition.status, condition.reason) for condition in status_of(decision).conditions}


def made(decision: BatchDecision) -> Job:
    """The Job that it creates."""
    assert isinstance(decision.action, CreateJob), decision
    stored = {"uid": "new", "resourceVersion": "1", "creationTimestamp": timestamp(NOW)}
    manifest = decision.action.manifest
    return read_job(manifest | {"metadata": manifest["metadata"] | stored})


def a_ledger(
    total: int = 10,
    *,
    done: str = "",
    wanted: int = 100,
    listen_until: float = 0.0,
    last_pass: bool = True,
    **status: Any,
) -> ShardLedger:
    """As the operator makes one from a status."""
    shards = Shards(total=total, done=done)
    ledger = ShardLedger.of(BATCH_UID, a_status(**{"shards": shards} | status), listen_until)
    ledger.wanted, ledger.last_pass = wanted, last_pass
    return ledger


def on(shard: int, succeeded: int = 0, failed: int = 0, **more: Any) -> ShardProgress:
    """How far a worker is with a shard of ten subjects."""
    return ShardProgress(shard=shard, succeeded=succeeded, failed=failed, **{"subjects": 10} | more)


def finished(shard: int, succeeded: int = 10, failed: int = 0, **more: Any) -> ShardProgress:
    return on(shard, succeeded, failed, finished=True, **more)


def says(
    ledger: ShardLedger,
    worker: str,
    *holds: ShardProgress,
    now: float = 0.0,
    is_alive: Callable[[str], bool] = lambda _: True,
    older: int = 0,
    **more: Any,
) -> ShardAnswer:
    """What a worker, which wants one more, says; and the answer."""
    report = ShardReport(batch=BATCH, holds=list(holds), **{"revision": 1, "wants": True} | more)
    return ledger.report(report, worker, now, is_alive=is_alive, older=older)
