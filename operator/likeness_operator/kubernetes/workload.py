"""Kueue's Workload of a Job: what Kueue says about its turn, and what a person can do about it.

A Job with a queue is born suspended and Kueue alone starts it; when Kueue takes the quota back it suspends it again.
Conditions and reasons: https://kueue.sigs.k8s.io/docs/concepts/workload/ (checked against Kueue 0.14).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject

# Kueue's own words, passed on as they are.
PREEMPTED = "Preempted"
ADMISSION_CHECK = "AdmissionCheck"
REQUIRED_CONDITIONS = ("QuotaReserved", "Admitted")
"""The conditions that a Workload has to reach, in this order."""
NEXT_STEPS = {
    "Pending": "wait for its turn, or have the ClusterQueue's quota raised; where the message says that the quota could"
    " never be enough, lower runtime.resources in the TuningProfile",
    "Inadmissible": "create or correct what the message names: the LocalQueue that spec.queueName of the TuningProfile"
    " names, its ClusterQueue, its flavors; or set spec.active of the Workload to true",
    PREEMPTED: "wait: it is started anew by itself when there is quota again; this does not count as a retry",
    "PodsReadyTimeout": "its pod was not ready in Kueue's time: `kubectl get events` says what it waited for;"
    " Kueue tries again by itself",
    ADMISSION_CHECK: "wait, or look after the admission check that the message names; Kueue tries again by itself",
    "ClusterQueueStopped": "ask the platform team: spec.stopPolicy of the ClusterQueue stops it",
    "LocalQueueStopped": "ask the platform team: spec.stopPolicy of the LocalQueue stops it",
    "Deactivated": "set spec.active of the Workload to true; Kueue then queues it again",
}
"""What a person can do, by the beginning of Kueue's reason."""
LOOK = "wait for its turn; `kubectl get workloads` shows the queue, `kubectl describe workload {name}` the details"
NOT_TAKEN_UP = (
    "wait for its turn; `kubectl get workloads` shows the queue. If nothing is listed there for it, Kueue is not"
    " installed, or does not manage this namespace"
)


@dataclass(frozen=True, slots=True)
class KueueMessage:
    """What Kueue states in a condition or an admission check; its reason is `Queued` where Kueue has none of use."""

    reason: str
    message: str
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """Kueue's Workload of a Job, as far as it keeps the Job waiting."""

    name: str
    lacks: KueueMessage | None
    """The first thing that keeps it from being admitted."""
    evicted: KueueMessage | None
    """Why its quota was taken back; forgotten by Kueue when it is given quota again."""


def read_workload(manifest: K8sObject) -> Workload:
    """The facts in a Workload as the API server sends it."""
    status = manifest.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    lacking = [conditions[kind] for kind in REQUIRED_CONDITIONS if conditions.get(kind, {}).get("status") == "False"]
    checks = [check for check in status.get("admissionChecks", []) if check["state"] != "Ready"]
    lacks = _kueue_message(lacking[0]) if lacking else None
    if checks and conditions.get("QuotaReserved", {}).get("status") == "True":
        words = [f"{check['name']} is {check['state']}: {check['message']}".rstrip(": ") for check in checks]
        lacks = KueueMessage(ADMISSION_CHECK, "; ".join(words))
    evicted = conditions.get("Evicted", {})
    return Workload(
        name=manifest["metadata"]["name"],
        lacks=lacks,
        evicted=_kueue_message(evicted) if evicted.get("status") == "True" else None,
    )


def why_queued(job: Job, workloads: Sequence[Workload]) -> Waiting:
    """The sentence for `status.waiting` of a Job that Kueue holds back; there is one Workload, or none yet."""
    generic = f"Job {job.name} waits for Kueue to admit it"
    if not workloads:
        return Waiting(reason=Reason.QUEUED, message=generic, next_step=NOT_TAKEN_UP)
    workload = workloads[0]
    stated = workload.evicted or workload.lacks or KueueMessage(Reason.QUEUED, generic)
    message = stated.message
    if workload.evicted and workload.lacks and workload.lacks.message not in message:
        message = f"{message}; {workload.lacks.message}"
    return Waiting(
        reason=stated.reason,
        message=truncate(message or generic),
        next_step=_next_step(stated.reason, workload.name),
    )


def _next_step(reason: str, workload: str) -> str:
    """Kueue appends what led to a reason (`DeactivatedDueToRequeuingLimitExceeded`), so its beginning counts."""
    known = [step for beginning, step in NEXT_STEPS.items() if reason.startswith(beginning)]
    return known[0] if known else LOOK.format(name=workload)


def _kueue_message(condition: K8sObject) -> KueueMessage:
    reason = condition.get("reason", "")
    if not re.fullmatch("[A-Za-z]{1,128}", reason):
        reason = Reason.QUEUED  # Kubernetes would allow more than our own conditions take
    return KueueMessage(reason, condition.get("message", ""), condition.get("lastTransitionTime"))
