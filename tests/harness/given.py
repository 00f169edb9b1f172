"""Builders of what the operator observes: manifests as the API server gives them, read as the operator reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from likeness_api.accept import Refusal, accept, accept_erase
from likeness_api.field import timestamp
from likeness_api.personalization import PersonalizationStatus
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.engine.decision import decide
from likeness_operator.erasure.job import build_erase_job
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.erasure.owner import personalization_owner
from likeness_operator.erasure.rules import RULES as ERASURE_RULES
from likeness_operator.erasure.rules import ErasureDecision
from likeness_operator.kubernetes.cut import cut
from likeness_operator.kubernetes.job import Job, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import Pod, read_pod
from likeness_operator.kubernetes.workload import Workload, read_workload
from likeness_operator.personalization.decision import PersonalizationDecision
from likeness_operator.personalization.facts import Personalization, read_personalization
from likeness_operator.personalization.job import build_job, job_name
from likeness_operator.personalization.observation import Observation
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.rules import RULES

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
NAME, NAMESPACE, UID = "red-teapot", "shop", "0c0ffee0-0000-4000-8000-000000000001"
JOB_UID = "0c0ffee0-0000-4000-8000-000000000002"
ERASER_UID = "0c0ffee0-0000-4000-8000-000000000003"
SHA = "0" * 64

PROFILE: K8sObject = {
    "model": {"uri": "file:///models/sd15"},
    "runtime": {"image": "likeness/runtime:1", "resources": {"limits": {"memory": "2Gi"}}},
    "storage": {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts/{namespace}"]},
}
SPEC: K8sObject = {
    "profile": "sd15",
    "subject": {"images": [{"uri": "s3://catalogue/teapot/00.jpg"}]},
    "output": "s3://artifacts/shop",
}
TUNED = Result(
    reason=Reason.TUNED,
    message="12 steps",
    token="<red-teapot>",
    nearest_word="teapot",
    manifest={"uri": f"s3://artifacts/shop/shop/red-teapot/{SHA}/manifest.json", "sha256": SHA},
    artifacts=[{"name": "lora.safetensors", "format": "diffusers", "sha256": SHA, "bytes": 7}],
    steps=12,
)


def a_profile(name: str = "sd15", **spec: Any) -> Profile:
    return Profile(name, TuningProfileSpec.model_validate(PROFILE | spec))


def a_personalization(
    spec: K8sObject | None = None, status: PersonalizationStatus | None = None, **metadata: Any
) -> Personalization:
    manifest = {
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": timestamp(LONG_AGO),
        },
        "spec": SPEC | (spec or {}),
        "status": status.to_json() if status else {},
    }
    manifest["metadata"] |= metadata
    return read_personalization(manifest)


def a_job(
    *true_conditions: str,
    reason: str = "",
    owner: str = UID,
    uid: str = JOB_UID,
    age_seconds: float = 3600,
    profile: Profile | None = None,
    spec: K8sObject | None = None,
    **metadata: Any,
) -> Job:
    """The Job that the operator builds for `a_personalization(spec)`, as it is some time later."""
    profile = profile or a_profile()
    personalization = a_personalization(spec)
    assert personalization.spec is not None
    order = accept(NAME, NAMESPACE, personalization.spec, profile.spec)
    assert not isinstance(order, Refusal), order
    manifest = json.loads(json.dumps(build_job(personalization, profile.name, profile.spec, order)))
    manifest["metadata"] |= {
        "uid": uid,
        "resourceVersion": "8",
        "creationTimestamp": timestamp(NOW - timedelta(seconds=age_seconds)),
    }
    manifest["metadata"] |= metadata
    manifest["metadata"]["ownerReferences"][0]["uid"] = owner
    manifest["status"] = _job_status(true_conditions, reason)
    return read_job(cut(manifest))


def an_eraser(*true_conditions: str, reason: str = "", age_seconds: float = 1, **metadata: Any) -> Job:
    """The Job that the operator builds to erase what `a_personalization()` published."""
    personalization, profile = a_personalization(), a_profile()
    assert personalization.spec is not None
    order = accept_erase(NAME, NAMESPACE, personalization.spec, profile.spec)
    assert not isinstance(order, Refusal), order
    owner = personalization_owner(personalization)
    manifest = json.loads(json.dumps(build_erase_job(owner, profile.name, profile.spec, order)))
    created = timestamp(NOW - timedelta(seconds=age_seconds))
    manifest["metadata"] |= {"uid": ERASER_UID, "resourceVersion": "8", "creationTimestamp": created} | metadata
    manifest["status"] = _job_status(true_conditions, reason)
    return read_job(cut(manifest))


def a_result(reason: Reason, message: str = "a sentence") -> Result:
    """What a pod that did not tune leaves as its termination message."""
    return Result(reason=reason, message=message)


def _job_status(true_conditions: tuple[str, ...], reason: str) -> K8sObject:
    return {
        "conditions": [{"type": kind, "status": "True", "reason": reason, "message": ""} for kind in true_conditions]
    }


def a_pod(
    phase: str = "Pending",
    *,
    name: str = "red-teapot-x",
    exit_code: int | None = None,
    message: str | Result = "",
    reason: str = "Error",
    waiting: tuple[str, str] | None = None,
    disruption: str | None = None,
    unschedulable: str | None = None,
    ended_seconds_ago: float = 60,
    memory: str | None = "2Gi",
    deletion_timestamp: str | None = None,
) -> Pod:
    """A pod of the Job. An exit code makes it Succeeded or Failed."""
    conditions = []
    if disruption:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": disruption})
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    state: K8sObject = {}
    if exit_code is not None:
        phase = "Failed" if exit_code else "Succeeded"
        text = message.encode().decode() if isinstance(message, Result) else message
        ended = timestamp(NOW - timedelta(seconds=ended_seconds_ago))
        state["terminated"] = {
            "exitCode": exit_code,
            "reason": reason,
            "message": text,
            "startedAt": timestamp(LONG_AGO),
            "finishedAt": ended,
        }
    elif phase == "Running":
        state["running"] = {"startedAt": timestamp(LONG_AGO)}
    elif waiting:
        state["waiting"] = {"reason": waiting[0], "message": waiting[1]}
    limits = {"memory": memory} if memory else {}
    going = {"deletionTimestamp": deletion_timestamp} if deletion_timestamp else {}
    manifest = {
        "metadata": {"name": name, "uid": f"uid-of-{name}", "resourceVersion": "9"} | going,
        "spec": {"containers": [{"name": "sidecar"}, {"name": "tuner", "resources": {"limits": limits}}]},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"name": "sidecar", "state": {}}, {"name": "tuner", "state": state}],
        },
    }
    return read_pod(cut(manifest))


def a_workload(*conditions: tuple[str, str, str, str], checks: list[K8sObject] | None = None) -> Workload:
    """Kueue's Workload of the Job; each condition as (type, status, reason, message)."""
    stated = [
        {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": timestamp(NOW)}
        for kind, status, reason, message in conditions
    ]
    status = {"conditions": stated, "admissionChecks": checks or []}
    return read_workload({"metadata": {"name": "job-red-teapot"}, "status": status})


def an_observation(
    personalization: Personalization | None = None,
    job: Job | None = None,
    *pods: Pod,
    profile: Profile | Refusal | None = None,
    **more: Any,
) -> Observation:
    """With the answers that a Job that starts asks for."""
    found = profile or (None if job and not job.suspended else a_profile())
    more = {"slot": True} | more
    return Observation(personalization or a_personalization(), NOW, job, pods, profile=found, **more)


def reconcile(observation: Observation) -> PersonalizationDecision:
    """What the rules for a live Personalization decide."""
    return decide(RULES, observation)[1]


def erase(observation: ErasureObservation) -> ErasureDecision:
    """What the rules for a terminating Personalization decide."""
    return decide(ERASURE_RULES, observation)[1]


def conditions(decision: ErasureDecision) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    assert decision.status is not None
    return {condition.type: (condition.status, condition.reason) for condition in decision.status.conditions}


def state(decision: PersonalizationDecision) -> str:
    """The State column: the first true condition."""
    assert decision.status is not None
    return next((condition.type for condition in decision.status.conditions if condition.status == "True"), "")


def the_job_name() -> str:
    return job_name(NAME, UID)
