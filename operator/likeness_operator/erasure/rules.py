"""The rules for a terminating Personalization or batch, read in order like those of a live one.

First nothing may run that could still publish, then a Job erases, then the finalizer goes. Whatever is in the way is
written into the condition `Erased` and in `status.waiting`, and tried again; it is never given up silently.
"""

from __future__ import annotations

from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.personalization import PersonalizationStatus, Waiting
from likeness_api.personalization_batch import PersonalizationBatchStatus
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_operator.engine.decision import CreateJob, Decision, DeleteJob, Question, RemoveFinalizer, Rule
from likeness_operator.erasure.job import TTL_SECONDS, build_erase_job
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.kubernetes.condition import condition_of, truncate, with_condition
from likeness_operator.kubernetes.event import EventContent
from likeness_operator.kubernetes.job import Job
from likeness_operator.personalization.attempt import by_finish, verdict
from likeness_operator.personalization.waiting import why_waiting

ErasureDecision = Decision[PersonalizationStatus | PersonalizationBatchStatus]
PATIENCE_SECONDS = 45.0
"""A pod has 30 s to end once it is being deleted, and one that erases ends within seconds: no status is due before."""


def released(o: ErasureObservation) -> ErasureDecision | None:
    """Without our finalizer there is nothing to be erased; Jobs that work for it go with their owner."""
    return None if o.owner.has_finalizer else Decision()


def tuning_still_running(o: ErasureObservation) -> ErasureDecision | None:
    """It could still publish."""
    for job in o.jobs:
        if job.owner_uid == o.owner.uid and not job.finished and not job.terminating:
            return Decision(action=DeleteJob(job))
    alive = [pod.name for pod in o.pods if not pod.finished]
    if not alive:
        return None
    message = f"pod {alive[0]} has not ended yet; nothing is erased while it could still publish"
    step = f"if its node is gone, `kubectl delete pod {alive[0]} --force`"
    assert o.owner.deleted is not None
    return _wait_patiently(o, o.owner.deleted, Waiting(reason=Reason.STILL_RUNNING, message=message, next_step=step))


def namespace_terminating(o: ErasureObservation) -> ErasureDecision | None:
    """No Job can be made there any more, so what was published stays; and nothing else should."""
    refused = o.job_refusal is not None and o.job_refusal.reason == Reason.NAMESPACE_TERMINATING
    if not refused and not o.namespace_terminating:
        return None
    where = o.owner.published_below
    note = f"not erased, because the namespace is being deleted and no Job can run in it: what is below {where}"
    event = EventContent("Warning", Reason.NAMESPACE_TERMINATING, "Erase", note, about_namespace=True)
    return Decision(action=RemoveFinalizer(event))


def erase_job_refused(o: ErasureObservation) -> ErasureDecision | None:
    return _wait(o, o.job_refusal) if o.job_refusal else None


def erase_job_missing(o: ErasureObservation) -> ErasureDecision | None:
    if o.eraser is not None:
        return None
    owner = o.owner
    if owner.order is None:
        return _refused(o, Refusal(Reason.INVALID_SPEC, owner.problem))
    if o.profile is None:
        return Decision(question=Question.PROFILE)
    if isinstance(o.profile, Refusal):
        return _refused(o, o.profile)
    order = owner.order(o.profile.spec)
    if isinstance(order, Refusal):
        return _refused(o, order)
    return Decision(action=CreateJob(build_erase_job(owner, o.profile.name, o.profile.spec, order)))


def erase_job_name_taken(o: ErasureObservation) -> ErasureDecision | None:
    assert o.eraser is not None
    if o.eraser.works_for_uid == o.owner.uid:
        return None
    message = f"there is a Job {o.eraser.name} that is not ours; expected none of that name"
    return _wait(o, Waiting(reason=Reason.JOB_NAME_TAKEN, message=message, next_step="delete that Job"))


def erase_job_going_away(o: ErasureObservation) -> ErasureDecision | None:
    """Another one is made when it is gone; the watch tells."""
    return Decision() if o.eraser and o.eraser.terminating and not o.eraser.succeeded else None


def erase_job_succeeded(o: ErasureObservation) -> ErasureDecision | None:
    assert o.eraser is not None
    if not o.eraser.succeeded:
        return None
    done = [pod for pod in by_finish(o.eraser_pods) if pod.phase == "Succeeded"]
    try:
        note = Result.decode(done[-1].message).message if done else "erased"
    except ValueError:
        note = "erased"
    return Decision(action=RemoveFinalizer(EventContent("Normal", Reason.ERASED, "Erase", note)))


def erase_job_failed(o: ErasureObservation) -> ErasureDecision | None:
    eraser = o.eraser
    assert eraser is not None
    if eraser.failure_reason is None:
        return None
    step = (
        f"put right what the message names; it is tried again every {TTL_SECONDS // 60} minutes, or at once after"
        f" `kubectl delete job {eraser.name}`"
    )
    reason, message = _how_it_failed(eraser, o)
    return _wait(o, Waiting(reason=reason, message=message, next_step=step))


def erase_job_at_work(o: ErasureObservation) -> ErasureDecision:
    eraser = o.eraser
    assert eraser is not None
    running = [pod.name for pod in o.eraser_pods if pod.running]
    if running:
        step = f"wait, or see `kubectl logs {running[-1]}`"
        waiting = Waiting(reason=Reason.ERASING, message=f"in pod {running[-1]}", next_step=step)
    else:
        waiting = why_waiting(eraser, o.eraser_pods, o.owner.status.waiting)
    return _wait_patiently(o, eraser.created, waiting)


RULES: tuple[Rule[ErasureObservation], ...] = (
    released,
    tuning_still_running,
    namespace_terminating,
    erase_job_refused,
    erase_job_missing,
    erase_job_name_taken,
    erase_job_going_away,
    erase_job_succeeded,
    erase_job_failed,
    erase_job_at_work,
)


def _how_it_failed(eraser: Job, o: ErasureObservation) -> tuple[str, str]:
    counted = [pod for pod in by_finish(o.eraser_pods) if pod.disruption is None]
    if eraser.failure_reason == "DeadlineExceeded" or not counted:
        last = f"; its last pod said: {verdict(counted[-1]).message}" if counted else ""
        reason = Reason.DEADLINE_EXCEEDED if eraser.failure_reason == "DeadlineExceeded" else Reason.RETRIES_EXHAUSTED
        return reason, f"Job {eraser.name} failed: {eraser.failure_message}{last}"
    end = verdict(counted[-1])
    return end.reason, end.message


def _refused(o: ErasureObservation, refusal: Refusal) -> ErasureDecision:
    """There is no Job to be made, so no API server would tell by its refusal that the namespace is on its way out."""
    if o.namespace_terminating is None:
        return Decision(question=Question.NAMESPACE_TERMINATING)
    released = namespace_terminating(o)
    if released is not None:
        return released
    step = "correct the TuningProfile, or make it anew with what it had when the artifacts were published"
    if o.owner.order is None:  # such as one that an operator from before took
        where = o.owner.published_below
        step = f"this operator cannot read its spec, so erase what is below {where} by hand and take the finalizer off"
    return _wait(o, Waiting(reason=refusal.reason, message=refusal.message, next_step=step))


def _wait_patiently(o: ErasureObservation, since: datetime, waiting: Waiting) -> ErasureDecision:
    """Writes nothing as long as the wait may well end by itself."""
    age = (o.now - since).total_seconds()
    return Decision(requeue_after_seconds=PATIENCE_SECONDS - age) if 0 <= age < PATIENCE_SECONDS else _wait(o, waiting)


def _wait(o: ErasureObservation, waiting: Waiting) -> ErasureDecision:
    """Writes why the erasure waits, with the way out that is always there."""
    about = o.owner
    patch = '{"metadata":{"finalizers":null}}'
    give_up = f"kubectl -n {about.namespace} patch {about.short_name} {about.name} --type=merge -p '{patch}'"
    step = f"{waiting.next_step}; or leave the artifacts where they are: `{give_up}`"
    waiting = Waiting(reason=waiting.reason, message=truncate(waiting.message), next_step=truncate(step))
    return Decision(status=not_erased_status(o, waiting))


def not_erased_status(o: ErasureObservation, waiting: Waiting) -> PersonalizationStatus | PersonalizationBatchStatus:
    """The status while the erasure waits; the conditions that the object ended with stay."""
    about, before = o.owner, o.owner.status
    reason, message = waiting.reason, waiting.message
    new = condition_of("Erased", value=False, reason=reason, message=message, now=o.now, generation=about.generation)
    return before.model_copy(update={"conditions": with_condition(before.conditions, new), "waiting": waiting})
