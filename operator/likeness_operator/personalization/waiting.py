"""Why a Personalization whose Job may run is not running, and what a person can do about it. Kueue: see workload.py."""

from __future__ import annotations

import re
from collections.abc import Sequence

from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.attempt import by_finish, verdict

# Kubernetes' own words, passed on as they are; ours are in likeness_api/reason.py.
UNSCHEDULABLE = "Unschedulable"
FAILED_CREATE = "FailedCreate"
IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
IMAGE_REASONS = (IMAGE_PULL_BACK_OFF, "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
CONFIGURATION_REASON = "CreateContainerConfigError"
START_REASONS = ("CreateContainerError", "RunContainerError", "StartError")


def why_waiting(job: Job, pods: Sequence[Pod], before: Waiting | None, refusal: str | None = None) -> Waiting:
    """The sentence for `status.waiting`. `before` is the one there now: a vaguer one of the same kind keeps it.

    `refusal` is what the API server answered when the Job controller wanted to create a pod.
    """
    alive = [pod for pod in pods if not pod.finished]
    if alive:
        return _pod_waits(alive[-1], before)
    ended = by_finish(tuple(pods))
    if ended:
        last = verdict(ended[-1])
        return Waiting(
            reason=Reason.RETRY_BACK_OFF,
            message=truncate(f"{last.reason}: {last.message}"),
            next_step="wait: Kubernetes starts the next attempt after a back-off",
        )
    if refusal:
        # Each try has a name of its own; that is no news.
        return _pod_refused(re.sub(rf"{re.escape(job.name)}-[a-z0-9]{{5}}\b", f"{job.name}-*", refusal))
    return Waiting(
        reason=Reason.NO_POD,
        message=f"Job {job.name} has no pod yet",
        next_step=f"if this lasts, `kubectl describe job {job.name}` says what keeps its pod from being created:"
        " a missing service account, a quota, an admission policy",
    )


def still_running(pod: Pod) -> Waiting:
    """What to say while a pod is being deleted and its grace period is over without its end.

    To delete it by force does not help (tried on 1.34): a Job with a podFailurePolicy keeps it until it has failed.
    """
    return Waiting(
        reason=Reason.STILL_RUNNING,
        message=f"pod {pod.name} should have ended by {pod.deletion_timestamp}, and has not been reported since;"
        " the next attempt starts when it has ended",
        next_step="if its node is gone, delete the Node, or taint it with node.kubernetes.io/out-of-service: Kubernetes"
        " then calls the pod failed, which does not count against backoffLimit; `kubectl delete pod --force` does"
        " not do that",
    )


def _pod_refused(refusal: str) -> Waiting:
    if "exceeded quota" in refusal:
        step = "wait until others of the namespace have ended, or have its ResourceQuota raised"
        return Waiting(reason=Reason.QUOTA_EXCEEDED, message=truncate(refusal), next_step=step)
    step = "make or correct what the message names: a service account, or the TuningProfile's runtime"
    return Waiting(reason=FAILED_CREATE, message=truncate(refusal), next_step=step)


def _unschedulable(message: str) -> Waiting:
    step = (
        "free or add a node that has what the TuningProfile's resources, nodeSelector and tolerations ask for, or wait"
        " until one is free"
    )
    if "persistentvolumeclaim" in message.lower():
        step = "see to the PersistentVolumeClaim that the message names, in this namespace; or have the TuningProfile's"
        step += " model.volume corrected"
    return Waiting(reason=UNSCHEDULABLE, message=truncate(message), next_step=step)


def _pod_waits(pod: Pod, before: Waiting | None) -> Waiting:
    if pod.unschedulable is not None:
        return _unschedulable(pod.unschedulable)
    if pod.waiting_reason in IMAGE_REASONS:
        # The kubelet goes back and forth between the error and the back-off; one word, one write.
        if before and before.reason == pod.waiting_reason == IMAGE_PULL_BACK_OFF:
            return before
        return Waiting(
            reason=IMAGE_PULL_BACK_OFF,
            message=truncate(pod.waiting_message or f"{pod.name}: {pod.waiting_reason}"),
            next_step="correct runtime.image or runtime.imagePullSecrets in the TuningProfile",
        )
    if pod.waiting_reason in START_REASONS:
        return Waiting(
            reason=pod.waiting_reason,
            message=truncate(pod.waiting_message),
            next_step="correct what the message names in the TuningProfile's runtime: image, podTemplate,"
            " runtimeClassName",
        )
    if pod.waiting_reason == CONFIGURATION_REASON:
        return Waiting(
            reason=pod.waiting_reason,
            message=truncate(pod.waiting_message),
            next_step="create what is missing, such as the Secret in spec.credentialsSecretRef and its keys"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the pod then starts by itself",
        )
    return Waiting(
        reason=Reason.STARTING,
        message=f"pod {pod.name} is being started",
        next_step=f"if this lasts, `kubectl describe pod {pod.name}` says what it waits for: a volume, a sandbox",
    )
