"""How a Job of a batch ended, from its pods; and which ends of workers came to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from likeness_api.batch_result import BatchResult
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.attempt import by_finish
from likeness_operator.personalization.attempt import verdict as pod_verdict

if TYPE_CHECKING:
    from likeness_operator.batch.observation import BatchObservation


@dataclass(frozen=True)
class BatchVerdict:
    """How a Job ended."""

    reason: str
    message: str
    finished_at: str
    result: BatchResult | None = None
    """There only where its pod ended well and left one that can be read."""
    lost: bool = False
    """Whether the Job succeeded and its pod, which had the result, is gone."""
    disrupted: bool = False
    """Whether its pod was taken off its node, or ended by somebody: no fault of its own."""


def job_verdict(job: Job, pods: tuple[Pod, ...]) -> BatchVerdict | None:
    """None as long as the Job's outcome is not decided."""
    if not job.outcome_decided:
        return None
    ended = by_finish(pods)
    at = (ended[-1].finished_at if ended else None) or job.created.isoformat()
    if job.succeeded:
        done = [pod for pod in ended if pod.phase == "Succeeded"]
        if not done:
            return BatchVerdict(Reason.RESULT_INVALID, f"the pod of Job {job.name} is gone", at, lost=True)
        return _of_result(done[-1], at)
    if job.failure_reason == "DeadlineExceeded":
        message = f"Job {job.name} did not end within {job.active_deadline_seconds} s"
        return BatchVerdict(Reason.DEADLINE_EXCEEDED, message, at)
    if not ended:
        message = f"Job {job.name} failed and its pods are gone: {job.failure_message}"
        return BatchVerdict(Reason.RETRIES_EXHAUSTED, message, at, disrupted=True)  # most likely with their node
    return _of_failed(ended[-1], at)


def fruitless_ends(o: BatchObservation) -> list[BatchVerdict]:
    """The workers that failed since a subject was done last, the newest last; what a node or a person ended is none."""
    ends = [(job, job_verdict(job, o.pods_of(job))) for _, job in o.workers()]
    failed = [end for job, end in ends if end and not job.succeeded and not end.disrupted]
    since = o.reported.seconds_since_progress if o.reported else None
    if since is not None:
        failed = [end for end in failed if (o.now - datetime.fromisoformat(end.finished_at)).total_seconds() < since]
    return sorted(failed, key=lambda end: end.finished_at)


def _of_result(pod: Pod, at: str) -> BatchVerdict:
    try:
        result = BatchResult.decode(pod.message)
    except ValueError as error:
        message = f"pod {pod.name} ended well, but its result is not believed: {error}"
        return BatchVerdict(Reason.RESULT_INVALID, message, at)
    if EXIT_CODE_OF[result.reason] is not ExitCode.DONE:
        message = f"pod {pod.name} ended well, but its result says {result.reason}: {result.message}"
        return BatchVerdict(Reason.RESULT_INVALID, message, at)
    return BatchVerdict(result.reason, result.message, at, result)


def _of_failed(pod: Pod, at: str) -> BatchVerdict:
    """What the pod says itself, unless Kubernetes says more."""
    end = pod_verdict(pod)
    if pod.disruption is None and pod.end_reason != "OOMKilled" and pod.exit_code not in (None, ExitCode.DONE):
        try:
            result = BatchResult.decode(pod.message)
        except ValueError:
            pass
        else:
            told = result.reason is Reason.INTERRUPTED and pod.deletion_timestamp is not None
            return BatchVerdict(result.reason, f"pod {pod.name}: {result.message}", at, disrupted=told)
    return BatchVerdict(end.reason, end.message, at, disrupted=pod.disruption is not None)
