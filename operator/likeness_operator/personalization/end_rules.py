"""The rules by which the end of a Job becomes the end of its Personalization; read as a part of rules.py."""

from __future__ import annotations

from likeness_api.personalization import PersonalizationStatus
from likeness_api.published import contradiction, ordered_by
from likeness_api.reason import Reason
from likeness_operator.engine.decision import Decision, DeleteJob, Fresh
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization import status
from likeness_operator.personalization.attempt import DISRUPTED, Verdict, by_finish, invalid, verdict
from likeness_operator.personalization.decision import PersonalizationDecision
from likeness_operator.personalization.observation import Observation


def job_succeeded(o: Observation) -> PersonalizationDecision | None:
    if o.job is None or not o.job.succeeded:
        return None
    done = [pod for pod in by_finish((*o.pods, *o.removed_pods)) if pod.phase == "Succeeded"]
    if not done:
        # The pod is gone and with it the result. What it published is there: the next Job just finds it.
        return None if o.job.terminating else Decision(action=DeleteJob(o.job))
    end = believed(o, done[-1])
    if end.result is None:
        return final_failure(status.failed_status(o, end.reason, end.message, done[-1].exit_code))
    return Decision(status=status.succeeded_status(o, end))


def believed(o: Observation, pod: Pod) -> Verdict:
    """How a pod ended well, with its result only where that says what the spec ordered: anybody who may make a pod in
    the namespace can write one.
    """
    end, about = verdict(pod), o.personalization
    if end.result is None or about.spec is None:
        return end
    problem = contradiction(end.result, ordered_by(about.namespace, about.name, about.spec))
    return invalid(pod, problem) if problem else end


def out_of_memory(o: Observation) -> PersonalizationDecision | None:
    """The same limit would be hit again. The Job is deleted after this is written: see `already_finished`."""
    for pod in by_finish(o.pods):
        if pod.end_reason == "OOMKilled" and pod.disruption is None:
            return final_failure(status.failed_status(o, Reason.OUT_OF_MEMORY, verdict(pod).message, pod.exit_code))
    return None


def job_failed(o: Observation) -> PersonalizationDecision | None:
    if o.job is None or o.job.failure_reason is None:
        return None
    if o.job.failure_reason == "DeadlineExceeded":
        message = f"the Job did not end within activeDeadlineSeconds, {o.job.active_deadline_seconds}"
        return final_failure(status.failed_status(o, Reason.DEADLINE_EXCEEDED, message))
    last, end = _last_counted(o.pods)
    if last is None or end is None:
        message = f"Job {o.job.name} failed and its pods are gone: {o.job.failure_message}"
        return final_failure(status.failed_status(o, _last_known(o), message))
    attempts = len([pod for pod in o.pods if pod.finished and pod.disruption is None])
    message = f"{end.message} (after {attempts} attempts)" if attempts > 1 else end.message
    return final_failure(status.failed_status(o, end.reason, message, last.exit_code))


def final_failure(end: PersonalizationStatus) -> PersonalizationDecision:
    """A failure is final, so nothing that a watch may have missed must stand against it."""
    return Decision(status=end, needs_fresh=Fresh.EVERYTHING)


def _last_counted(pods: tuple[Pod, ...]) -> tuple[Pod | None, Verdict | None]:
    """The newest pod that failed by itself, and how."""
    counted = [pod for pod in by_finish(pods) if pod.disruption is None]
    return (counted[-1], verdict(counted[-1])) if counted else (None, None)


def _last_known(o: Observation) -> str:
    """The reason of the last attempt in the status, for when the pods are gone."""
    counted = [attempt.reason for attempt in status.observed_status(o).attempts if attempt.reason not in DISRUPTED]
    return counted[-1] if counted else Reason.RETRIES_EXHAUSTED
