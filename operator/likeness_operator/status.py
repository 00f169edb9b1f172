"""The status of a Personalization in each of its situations, built from what was observed."""

from __future__ import annotations

from likeness_api import outcome
from likeness_api.field import Condition
from likeness_api.personalization import Attempt, Failure, JobRef, PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator.attempt import MOST_ATTEMPTS, Verdict, with_ended, with_eviction
from likeness_operator.condition import cut, timestamp, with_condition
from likeness_operator.decision import Observation


def observed(o: Observation) -> PersonalizationStatus:
    """What is true in every situation: the Job, the attempts, the times; nothing is waiting unless said anew."""
    before = o.personalization.status
    ref = JobRef(name=o.job.name, uid=o.job.uid) if o.job else None
    starts = [pod.started_at for pod in (*o.pods, *o.taken_away) if pod.started_at]
    start_time = before.start_time or min(starts, default=None)
    attempts = with_ended(with_deleted_job(o), (*o.pods, *o.taken_away))
    if o.job and o.workloads and start_time:
        attempts = with_eviction(attempts, o.job.name, o.workloads[0].evicted)
    status = before.model_copy(
        update={
            "observed_generation": o.personalization.generation,
            "profile": o.job.profile if o.job else before.profile,
            "job_ref": ref,
            "attempts": attempts,
            "start_time": start_time,
            "waiting": None,
        }
    )
    if o.job:
        status = _accepted(o, status, o.job.profile)
    if o.job and o.job.token:
        status = status.model_copy(update={"token": o.job.token})
    if o.job and o.job.encoder_use:
        use = o.job.encoder_use
        status = _say(o, status, ("EncoderUsed", use.used), use.reason, use.message)
    if o.job and o.job.token_warning:
        status = _say(o, status, ("TokenInPrompts", False), Reason.TOKEN_MISSING, o.job.token_warning)
    return status


def is_news(status: PersonalizationStatus, before: PersonalizationStatus) -> bool:
    """Whether a status is worth a write. One more attempt alone is not: the next write tells, the last one at least."""
    return status.model_copy(update={"attempts": before.attempts}) != before


def with_deleted_job(o: Observation) -> list[Attempt]:
    """The attempts, with one more where the Job that the status knows is not there any longer."""
    before = o.personalization.status
    if before.job_ref is None or (o.job and o.job.uid == before.job_ref.uid):
        return before.attempts
    lost = Attempt(pod=before.job_ref.name, reason=Reason.JOB_DELETED, finish_time=timestamp(o.now))
    return [*before.attempts, lost][-MOST_ATTEMPTS:]


def not_accepted(o: Observation, reason: Reason, waiting: Waiting) -> PersonalizationStatus:
    return _waits(o, _say(o, observed(o), ("Accepted", False), reason, waiting.message), waiting)


def job_refused(o: Observation, profile: str, waiting: Waiting) -> PersonalizationStatus:
    return pending(o, waiting, _accepted(o, observed(o), profile))


def suspended(o: Observation) -> PersonalizationStatus:
    """A Job that is missing now was deleted by us, so it is not held against anybody."""
    before = o.personalization.status.attempts
    status = observed(o).model_copy(update={"attempts": with_ended(before, (*o.pods, *o.taken_away))})
    status = _say(o, _without_progress(status), ("Suspended", True), Reason.SUSPENDED, "spec.suspend is true")
    for kind in ("Running", "Waiting"):
        status = _if_said(o, status, kind, Reason.SUSPENDED, "spec.suspend is true")
    return status


def pending(o: Observation, waiting: Waiting, status: PersonalizationStatus | None = None) -> PersonalizationStatus:
    status = _if_said(o, _without_progress(status or observed(o)), "Running", Reason.POD_PENDING, waiting.message)
    return _waits(o, _resumed(o, status), waiting)


def running(o: Observation, pod: str) -> PersonalizationStatus:
    status = _say(o, observed(o), ("Running", True), Reason.POD_STARTED, f"in pod {pod}")
    status = status.model_copy(update={"progress": o.progress or status.progress})
    return _if_said(o, _resumed(o, status), "Waiting", Reason.POD_STARTED, f"in pod {pod}")


def succeeded(o: Observation, verdict: Verdict) -> PersonalizationStatus:
    assert verdict.result is not None
    status = outcome.published(observed(o), verdict.result)
    return _finished(o, _say(o, status, ("Succeeded", True), verdict.reason, cut(verdict.message)))


def refused(o: Observation, reason: Reason, message: str) -> PersonalizationStatus:
    """Failed before there was a Job: nobody would accept it."""
    status = failed(o, reason, message)
    return _say(o, status, ("Accepted", False), reason, cut(message))


def failed(o: Observation, reason: str, message: str, exit_code: int | None = None) -> PersonalizationStatus:
    status = observed(o)
    failure = Failure(reason=reason, message=cut(message), exit_code=exit_code, attempt=len(status.attempts))
    status = status.model_copy(update={"failure": failure})
    return _finished(o, _say(o, status, ("Failed", True), reason, cut(message)))


def _without_progress(status: PersonalizationStatus) -> PersonalizationStatus:
    """The next pod begins at the first step."""
    return status.model_copy(update={"progress": None})


def not_erased(o: Observation, waiting: Waiting) -> PersonalizationStatus:
    """Of one that is being deleted; what it was before stays said."""
    status = _say(o, o.personalization.status, ("Erased", False), waiting.reason, waiting.message)
    return status.model_copy(update={"waiting": waiting})


def _accepted(o: Observation, status: PersonalizationStatus, profile: str) -> PersonalizationStatus:
    return _say(o, status, ("Accepted", True), Reason.PROFILE_MATCHED, f"TuningProfile {profile} allows it")


def _waits(o: Observation, status: PersonalizationStatus, waiting: Waiting) -> PersonalizationStatus:
    """Also a condition, so that the State and Reason columns say it and `kubectl wait` can be used on it."""
    status = _say(o, status, ("Waiting", True), waiting.reason, waiting.message)
    return status.model_copy(update={"waiting": waiting})


def _finished(o: Observation, status: PersonalizationStatus) -> PersonalizationStatus:
    for kind in ("Running", "Waiting"):
        status = _if_said(o, status, kind, Reason.FINISHED, "it ended")
    ended = {"completion_time": timestamp(o.now), "settled": None if _to_be_erased(o, status) else True}
    return _resumed(o, status).model_copy(update=ended)


def _to_be_erased(o: Observation, status: PersonalizationStatus) -> bool:
    """Whether its deletion must not be missed. A spec that cannot be read may ask for it."""
    spec = o.personalization.spec
    return (spec is None or spec.deletion_policy == "Delete") and bool(status.job_ref or status.attempts)


def _resumed(o: Observation, status: PersonalizationStatus) -> PersonalizationStatus:
    return _if_said(o, status, "Suspended", Reason.RESUMED, "spec.suspend is false")


def _if_said(
    o: Observation, status: PersonalizationStatus, kind: str, reason: str, message: str
) -> PersonalizationStatus:
    """Sets a condition to False only where it was ever said: fewer lines for the reader."""
    if any(condition.type == kind for condition in status.conditions):
        return _say(o, status, (kind, False), reason, message)
    return status


def _say(
    o: Observation, status: PersonalizationStatus, type_is: tuple[str, bool], reason: str, message: str
) -> PersonalizationStatus:
    kind, value = type_is
    condition = Condition(
        type=kind,
        status="True" if value else "False",
        reason=reason,
        message=message,
        last_transition_time=timestamp(o.now),
        observed_generation=o.personalization.generation,
    )
    return status.model_copy(update={"conditions": with_condition(status.conditions, condition)})
