"""The rules for a deleted Personalization whose artifacts are to be erased, read in order like those of reconcile.py.

First nothing may run that could still publish, then a Job erases, then the finalizer goes. Whatever is in the way is
said in the condition `Erased` and in `status.waiting`, and tried again; it is never given up silently.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from likeness_api.accept import Refusal, accept_erase
from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_operator import status
from likeness_operator.attempt import by_finish, verdict
from likeness_operator.condition import cut
from likeness_operator.decision import CreateJob, Decision, DeleteJob, Observation, Release
from likeness_operator.erase_job import TTL_SECONDS, build_erase_job
from likeness_operator.observed import Job
from likeness_operator.waiting import why_waiting

PATIENCE_SECONDS = 45.0
"""A pod has 30 s to end when it is told to, and one that erases ends within seconds: until then no word is due."""


def erase(observation: Observation) -> Decision:
    """Of one that is being deleted and has our finalizer."""
    for rule in RULES:
        decision = rule(observation)
        if decision is not None:
            return decision
    raise AssertionError("the last rule always answers")


def tuning_goes_on(o: Observation) -> Decision | None:
    """It could still publish."""
    job, uid = o.job, o.personalization.uid
    if job and job.owner_uid == uid and not job.ended and not job.deleting:
        return Decision(action=DeleteJob(job))
    alive = [pod.name for pod in o.pods if not pod.ended]
    if not alive:
        return None
    message = f"pod {alive[0]} has not ended yet; nothing is erased while it could still publish"
    step = f"if its node is gone, `kubectl delete pod {alive[0]} --force`"
    assert o.personalization.deleted is not None
    return _say_later(
        o, o.personalization.deleted, Waiting(reason=Reason.STILL_RUNNING, message=message, next_step=step)
    )


def namespace_goes(o: Observation) -> Decision | None:
    """No Job can be made there any more, so what was published stays; and nothing else should."""
    refused = o.job_refusal is not None and o.job_refusal.reason == Reason.NAMESPACE_TERMINATING
    if not refused and not o.namespace_goes:
        return None
    spec = o.personalization.spec
    where = f"{spec.output}/{o.personalization.namespace}/{o.personalization.name}/" if spec else "its output"
    note = f"not erased, because the namespace is being deleted and no Job can run in it: what is below {where}"
    return Decision(action=Release(Reason.NAMESPACE_TERMINATING, note))


def eraser_refused(o: Observation) -> Decision | None:
    return _say(o, o.job_refusal) if o.job_refusal else None


def eraser_missing(o: Observation) -> Decision | None:
    if o.eraser is not None:
        return None
    owner = o.personalization
    if owner.spec is None:
        return _refused(o, Refusal(Reason.INVALID_SPEC, owner.problem))
    assert o.profile is not None, "the profile is looked up wherever there is no Job"
    if isinstance(o.profile, Refusal):
        return _refused(o, o.profile)
    order = accept_erase(owner.name, owner.namespace, owner.spec, o.profile.spec)
    if isinstance(order, Refusal):
        return _refused(o, order)
    return Decision(action=CreateJob(build_erase_job(owner, o.profile.name, o.profile.spec, order)))


def name_taken(o: Observation) -> Decision | None:
    assert o.eraser is not None
    if o.eraser.erases == o.personalization.uid:
        return None
    message = f"there is a Job {o.eraser.name} that is not ours; expected none of that name"
    return _say(o, Waiting(reason=Reason.JOB_NAME_TAKEN, message=message, next_step="delete that Job"))


def eraser_going_away(o: Observation) -> Decision | None:
    """Another one is made when it is gone; the watch tells."""
    return Decision() if o.eraser and o.eraser.deleting and not o.eraser.succeeded else None


def erased(o: Observation) -> Decision | None:
    assert o.eraser is not None
    if not o.eraser.succeeded:
        return None
    done = [pod for pod in by_finish(o.eraser_pods) if pod.phase == "Succeeded"]
    try:
        note = Result.decode(done[-1].message).message if done else "erased"
    except ValueError:
        note = "erased"
    return Decision(action=Release(Reason.ERASED, note))


def eraser_failed(o: Observation) -> Decision | None:
    eraser = o.eraser
    assert eraser is not None
    if eraser.failure_reason is None:
        return None
    step = (
        f"put right what the message names; it is tried again every {TTL_SECONDS // 60} minutes, or at once after"
        f" `kubectl delete job {eraser.name}`"
    )
    reason, message = _how_it_failed(eraser, o)
    return _say(o, Waiting(reason=reason, message=message, next_step=step))


def eraser_at_work(o: Observation) -> Decision:
    eraser = o.eraser
    assert eraser is not None
    running = [pod.name for pod in o.eraser_pods if pod.running]
    if running:
        step = f"wait, or see `kubectl logs {running[-1]}`"
        waiting = Waiting(reason=Reason.ERASING, message=f"in pod {running[-1]}", next_step=step)
    else:
        waiting = why_waiting(eraser, o.eraser_pods, o.personalization.status.waiting)
    return _say_later(o, eraser.created, waiting)


RULES: tuple[Callable[[Observation], Decision | None], ...] = (
    tuning_goes_on,
    namespace_goes,
    eraser_refused,
    eraser_missing,
    name_taken,
    eraser_going_away,
    erased,
    eraser_failed,
    eraser_at_work,
)


def _how_it_failed(eraser: Job, o: Observation) -> tuple[str, str]:
    charged = [pod for pod in by_finish(o.eraser_pods) if pod.disruption is None]
    if eraser.failure_reason == "DeadlineExceeded" or not charged:
        last = f"; its last pod said: {verdict(charged[-1]).message}" if charged else ""
        reason = Reason.DEADLINE_EXCEEDED if eraser.failure_reason == "DeadlineExceeded" else Reason.RETRIES_EXHAUSTED
        return reason, f"Job {eraser.name} failed: {eraser.failure_message}{last}"
    end = verdict(charged[-1])
    return end.reason, end.message


def _refused(o: Observation, refusal: Refusal) -> Decision:
    """There is no Job to be made, so no API server would tell by its refusal that the namespace is on its way out."""
    if o.namespace_goes is None:
        return Decision(asks_for_namespace=True)
    step = "correct the TuningProfile, or make it anew with what it had when the artifacts were published"
    if o.personalization.spec is None:  # such as one that an operator from before took
        where = f"{o.personalization.namespace}/{o.personalization.name}/ of its spec.output"
        step = f"this operator cannot read its spec, so erase what is below {where} by hand and take the finalizer off"
    return _say(o, Waiting(reason=refusal.reason, message=refusal.message, next_step=step))


def _say_later(o: Observation, since: datetime, waiting: Waiting) -> Decision:
    """What passes by itself is worth no write."""
    age = (o.now - since).total_seconds()
    return Decision(look_again_seconds=PATIENCE_SECONDS - age) if 0 <= age < PATIENCE_SECONDS else _say(o, waiting)


def _say(o: Observation, waiting: Waiting) -> Decision:
    """With the way out that is always there."""
    about = o.personalization
    give_up = (
        f'kubectl -n {about.namespace} patch pz {about.name} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\''
    )
    step = f"{waiting.next_step}; or leave the artifacts where they are: `{give_up}`"
    waiting = Waiting(reason=waiting.reason, message=cut(waiting.message), next_step=cut(step))
    return Decision(status=status.not_erased(o, waiting))
