"""Builds the Jobs of a batch: one that reads its source, those that work, one that collects the results."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from likeness_api.batch_order import BatchOrder
from likeness_api.shard_report import SHARDS_URL_VARIABLE
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.batch.facts import Batch
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.merge_patch import merge_patch
from likeness_operator.personalization.job import (
    PodIdentity,
    owner_reference,
    pod_failure_policy,
    pod_spec,
    reporting,
    resources,
    ttl_seconds,
    without_containers,
)
from likeness_operator.personalization.job_notes import ordered_digest

BOOKKEEPER_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
"""For a plan and for results, which take no GPU. Limits as well: a namespace's quota may ask for them."""
BOOKKEEPER_SECONDS = 6 * 3600
WORKER_TTL_SECONDS = 900
"""As long as the circuit breaker looks back."""
WORKER_GRACE_SECONDS = 60
"""A worker finishes the group that it has in hand."""
SHARDS_PATH = "/shards"


class Role(StrEnum):
    """What a Job of a batch is there for; its first letter is in the Job's name."""

    PLANNER = label.PLANNER
    WORKER = label.WORKER
    COLLECTOR = label.COLLECTOR


POD_COMMANDS = {Role.PLANNER: "plan", Role.WORKER: "work", Role.COLLECTOR: "collect"}


@dataclass(frozen=True)
class JobPlace:
    """Which of a batch's Jobs one is."""

    role: Role
    number: int
    """Of the pass for a planner, of the try for a collector; workers are numbered as they are made."""
    unfinished: bool = False
    """Of a collector: whether results are collected though not all shards are done."""


def job_prefix(name: str, uid: str, revision: int) -> str:
    """What the names of all Jobs of a batch's revision begin with; at most 52 characters."""
    digest = hashlib.sha256(f"{uid} {revision}".encode()).hexdigest()[:10]
    return f"{name[:40].rstrip('-')}-{digest}-"


def batch_job_name(batch: Batch, place: JobPlace) -> str:
    """Fixed, so that there is no second one."""
    early = "u" if place.unfinished else ""
    return f"{job_prefix(batch.name, batch.uid, batch.revision)}{place.role[0]}{place.number}{early}"


def place_of(batch: Batch, job: Job) -> JobPlace | None:
    """Which Job of the batch's present revision one is, by its name; None where it is none."""
    prefix = job_prefix(batch.name, batch.uid, batch.revision)
    found = (
        re.fullmatch(r"([pwc])([0-9]{1,9})(u?)", job.name.removeprefix(prefix)) if job.name.startswith(prefix) else None
    )
    if found is None:
        return None
    role = next(role for role in Role if role[0] == found[1])
    if found[3] and role is not Role.COLLECTOR:
        return None
    return JobPlace(role, int(found[2]), unfinished=found[3] == "u")


def made_by_us(batch: Batch, job: Job) -> bool:
    """Whether the operator made a Job that says this batch owns it: it has what only we put on it."""
    return job.owner_uid == batch.uid and job.annotation(label.ORDERED) == _ordered(batch)


def build_batch_job(
    batch: Batch, place: JobPlace, profile_name: str, profile: TuningProfileSpec, order: BatchOrder, *,
    progress_url: str,
) -> K8sObject:  # fmt: skip
    """The Job of an accepted batch."""
    assert batch.spec is not None
    spec, template, works = batch.spec, batch.spec.template, place.role is Role.WORKER
    pilots = place == JobPlace(Role.PLANNER, 0) and spec.mode == "Plan"
    labels = {
        label.NAME: label.PRODUCT,
        label.MANAGED_BY: label.PRODUCT,
        label.COMPONENT: place.role.value,
        label.BATCH_NAME: batch.name,
        label.PROFILE: profile_name,
    }
    queue = {label.QUEUE: profile.queue_name} if (works or pilots) and profile.queue_name else {}
    identity = PodIdentity(template.service_account_name, template.credentials_secret_ref)
    options = ["--unfinished"] if place.unfinished else ["--pilot"] if pilots else []
    command = [POD_COMMANDS[place.role], *options]
    wanted = resources(profile.runtime.resources) if works or pilots else BOOKKEEPER_RESOURCES
    pod = pod_spec(identity, profile, order, command, wanted, with_models=place.role is not Role.COLLECTOR)
    if works:
        pod["terminationGracePeriodSeconds"] = WORKER_GRACE_SECONDS
    if spec.priority_class_name:
        pod["priorityClassName"] = spec.priority_class_name
    patch = profile.runtime.pod_template or {}
    pod_template = merge_patch(
        {"metadata": {"labels": labels}, "spec": pod}, patch if works or pilots else without_containers(patch)
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": batch_job_name(batch, place),
            "namespace": batch.namespace,
            "labels": labels | queue,
            "annotations": {label.ORDERED: _ordered(batch)},
            "ownerReferences": [owner_reference(batch.reference)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "suspend": bool(queue),  # Kueue starts what it admits
            **(_worker_ends() if works else _bookkeeper_ends(profile, spec.ttl_seconds_after_finished)),
            "template": reporting(pod_template, SHARDS_URL_VARIABLE, shards_url(progress_url))
            if works
            else pod_template,
        },
    }


def shards_url(progress_url: str) -> str:
    """Where workers report to, beside where tuning pods do."""
    return urlunsplit(urlsplit(progress_url)._replace(path=SHARDS_PATH))


def _worker_ends() -> K8sObject:
    """Replaced by the operator at once: a Job's own back-off starts at ten seconds, also for what is nobody's fault."""
    return {"backoffLimit": 0, "ttlSecondsAfterFinished": WORKER_TTL_SECONDS}


def _bookkeeper_ends(profile: TuningProfileSpec, ttl: int) -> K8sObject:
    return {
        "backoffLimit": profile.backoff_limit,
        "podFailurePolicy": pod_failure_policy(),
        "activeDeadlineSeconds": BOOKKEEPER_SECONDS,
        "ttlSecondsAfterFinished": ttl_seconds(ttl),
    }


def _ordered(batch: Batch) -> str:
    output = batch.spec.template.output if batch.spec else ""
    return ordered_digest(batch.uid, batch.namespace, batch.name, output, str(batch.revision))
