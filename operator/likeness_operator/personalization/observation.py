"""All that the rules for a live Personalization read, gathered within one reconciliation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import Progress, Waiting
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.kubernetes.workload import Workload
from likeness_operator.personalization.facts import Personalization
from likeness_operator.personalization.profile import Profile


@dataclass(frozen=True)
class Observation:
    """A live Personalization with what there is of its Job. The answer to a question is None until a rule
    asks it."""

    personalization: Personalization
    now: datetime
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    """The pods of `job`."""
    removed_pods: tuple[Pod, ...] = ()
    """Pods of `job` that succeeded or were evicted, and are gone: for the result, and for the history."""
    progress: Progress | None = None
    """The pod's last report, where there is one to be written."""
    progress_url: str | None = None
    """Where a new Job's pods should report to; None for nowhere."""
    job_refusal: Waiting | None = None
    """What the API server answered when it refused the Job in this very reconciliation."""
    profile: Profile | Refusal | None = None
    """Answer to `Question.PROFILE`."""
    slot: bool | None = None
    """Answer to `Question.SLOT`: whether the Job may start now."""
    pod_refusal: str | None = None
    """Answer to `Question.POD_REFUSAL`: why the Job has no pod; "" where no event says so."""
    workloads: tuple[Workload, ...] | None = None
    """Answer to `Question.WORKLOADS`: what Kueue made of the Job, at most one."""
