"""How a pod ended, in one word and one sentence; and the history of such ends in a Personalization's status."""

from __future__ import annotations

from dataclasses import dataclass

from likeness_api.personalization import Attempt
from likeness_api.reason import ExitCode, Reason
from likeness_api.result import Result
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.kubernetes.workload import PREEMPTED, KueueMessage

MOST_ATTEMPTS = 10
GOOD = (Reason.TUNED, Reason.ALREADY_PUBLISHED)
DISRUPTED = (Reason.EVICTED, Reason.PREEMPTED)
"""Not the pod's fault, so never why a Job failed."""
PREEMPTION = "PreemptionByScheduler"
NOT_STARTED = ("StartError", "ContainerCannotRun")
"""The kubelet's reasons where the container runtime could not start it; its words are then in place of a result."""


@dataclass(frozen=True)
class Verdict:
    """How a pod ended, in one word and one sentence."""

    reason: Reason
    message: str
    result: Result | None = None
    """There only where the runtime published and its result can be read."""


def verdict(pod: Pod) -> Verdict:
    """Why `pod` ended. The exit code outweighs the message: a pod that failed did not publish, whatever it says.

    One that has to leave its node may still end well within its grace period.
    """
    if pod.disruption is not None and pod.exit_code != ExitCode.DONE:
        reason = Reason.PREEMPTED if pod.disruption == PREEMPTION else Reason.EVICTED
        return Verdict(reason, f"pod {pod.name} was taken off its node: {pod.disruption}")
    if pod.end_reason == "OOMKilled":
        return Verdict(Reason.OUT_OF_MEMORY, _out_of_memory(pod))
    try:
        result = Result.decode(pod.message)
    except ValueError as error:
        return _without_result(pod, str(error))
    if (pod.exit_code == ExitCode.DONE) != (result.reason in GOOD):
        return _without_result(pod, f"its result says {result.reason}")
    if result.reason in GOOD and result.manifest is None:
        return _without_result(pod, "its result names no manifest")
    return Verdict(result.reason, result.message, result if result.reason in GOOD else None)


def invalid(pod: Pod, why: str) -> Verdict:
    """The end of a pod that ended well and left a result that is not believed."""
    return Verdict(Reason.RESULT_INVALID, f"pod {pod.name} ended well, but its result is not believed: {why}")


def with_finished(attempts: list[Attempt], pods: tuple[Pod, ...]) -> list[Attempt]:
    """The history with every pod that ended, newest last, the oldest beyond ten forgotten."""
    known = {attempt.pod for attempt in attempts}
    ended = [pod for pod in by_finish(pods) if pod.name not in known]
    new = [
        Attempt(pod=pod.name, reason=verdict(pod).reason, exit_code=pod.exit_code, finish_time=pod.finished_at)
        for pod in ended
    ]
    return [*attempts, *new][-MOST_ATTEMPTS:]


def with_eviction(attempts: list[Attempt], job_name: str, evicted: KueueMessage | None) -> list[Attempt]:
    """The history with the end that Kueue's eviction made; its pod goes with the suspended Job, seen or not."""
    if evicted is None:
        return attempts
    reason = Reason.PREEMPTED if evicted.reason == PREEMPTED else Reason.EVICTED
    end = Attempt(pod=job_name, reason=reason, finish_time=evicted.since)
    return attempts if end in attempts else [*attempts, end][-MOST_ATTEMPTS:]


def by_finish(pods: tuple[Pod, ...]) -> list[Pod]:
    """The pods that ended, newest last."""
    return sorted((pod for pod in pods if pod.finished), key=lambda pod: (pod.finished_at or "", pod.name))


def _out_of_memory(pod: Pod) -> str:
    if pod.memory_limit is None:
        return f"pod {pod.name} was killed because its node ran out of memory; it had no memory limit of its own"
    return (
        f"pod {pod.name} went over its memory limit of {pod.memory_limit}; a higher runtime.resources.limits.memory"
        " in the TuningProfile, or a lower resolution or batchSize, may help"
    )


def _without_result(pod: Pod, why: str) -> Verdict:
    if pod.end_reason in NOT_STARTED:
        return Verdict(Reason.RUNTIME_CRASHED, f"pod {pod.name} could not be started: {pod.message}")
    if pod.exit_code in (ExitCode.KILLED, ExitCode.TERMINATED):
        return Verdict(Reason.INTERRUPTED, f"pod {pod.name} was stopped from outside (exit code {pod.exit_code})")
    if pod.exit_code is None:
        why = f"{pod.end_reason}: {pod.message}" if pod.message else pod.end_reason
        return Verdict(Reason.INTERRUPTED, f"pod {pod.name} ended before its container started: {why}")
    if pod.exit_code == ExitCode.DONE and pod.message:
        return invalid(pod, why)
    cause = why if pod.message else "it left no result"
    return Verdict(
        Reason.RUNTIME_CRASHED,
        f"pod {pod.name} ended with exit code {pod.exit_code}, but {cause}; `kubectl logs {pod.name}` may say more",
    )
