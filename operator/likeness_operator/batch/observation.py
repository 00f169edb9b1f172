"""All that the rules for a live PersonalizationBatch read, gathered within one reconciliation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import Waiting
from likeness_api.personalization_batch import FailureSample, PersonalizationBatchStatus, Shards
from likeness_operator.batch.facts import Batch
from likeness_operator.batch.job import JobPlace, Role, batch_job_name, place_of
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.profile import Profile


@dataclass(frozen=True)
class Reported:
    """What the workers have reported of the present pass, together with what the status had before."""

    shards: Shards
    succeeded: int
    failed: int
    running: int
    gpu_seconds: int
    failures: list[FailureSample]
    per_worker_second: float | None
    seconds_since_progress: float | None
    """Or since this operator acts; None where no shards are worked on."""
    shards_left: int
    useful_workers: int
    """That have something to do, or would have."""


@dataclass(frozen=True)
class BatchObservation:
    """A live batch with its Jobs, their pods and what its workers report."""

    batch: Batch
    now: datetime
    jobs: tuple[Job, ...] = ()
    """Those that say that the batch owns them."""
    pods: tuple[Pod, ...] = ()
    progress_url: str | None = None
    reported: Reported | None = None
    """None until shards are worked on."""
    workers_wanted: int = 0
    job_refusal: Waiting | None = None
    """What the API server answered when it refused a Job in this very reconciliation."""
    profile: Profile | Refusal | None = None
    """Answer to `Question.PROFILE`."""

    @property
    def status(self) -> PersonalizationBatchStatus:
        """Of the revision in the spec."""
        return self.batch.status

    def job(self, place: JobPlace) -> Job | None:
        """The Job at one place."""
        name = batch_job_name(self.batch, place)
        return next((job for job in self.jobs if job.name == name), None)

    def workers(self) -> list[tuple[int, Job]]:
        """The worker Jobs of this revision, the oldest first."""
        placed = [(place_of(self.batch, job), job) for job in self.jobs]
        return sorted(
            ((place.number, job) for place, job in placed if place and place.role is Role.WORKER),
            key=lambda each: each[0],
        )

    def living_workers(self) -> list[tuple[int, Job]]:
        """Those that work or will."""
        return [(number, job) for number, job in self.workers() if not job.outcome_decided and not job.terminating]

    def pods_of(self, job: Job) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if pod.owner_uid == job.uid)

    def running_workers(self) -> list[Pod]:
        """The pods that work."""
        return [pod for _, job in self.living_workers() for pod in self.pods_of(job) if pod.running]
