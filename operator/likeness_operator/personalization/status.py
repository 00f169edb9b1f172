"""The status of a live Personalization in each of its situations, built from what was observed."""

from __future__ import annotations

from datetime import datetime

from likeness_api import outcome
from likeness_api.accept import over_the_times
from likeness_api.field import timestamp
from likeness_api.personalization import Attempt, Failure, JobRef, PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_operator.kubernetes.condition import condition_of, truncate, with_condition
from likeness_operator.kubernetes.job import Job
from likeness_operator.personalization.attempt import MOST_ATTEMPTS, Verdict, with_eviction, with_finished
from likeness_operator.personalization.facts import Personalization
from likeness_operator.personalization.job_notes import read_job_notes
from likeness_operator.personalization.observation import Observation
from likeness_operator.personalization.profile import Profile


def observed_status(o: Observation) -> PersonalizationStatus:
    """What is true in every situation: the Job, the attempts, the times; `waiting` is empty until it is set anew."""
    before = o.personalization.status
    ref = JobRef(name=o.job.name, uid=o.job.uid) if o.job else None
    starts = [pod.started_at for pod in (*o.pods, *o.removed_pods) if pod.started_at]
    start_time = before.start_time or min(starts, default=None)
    attempts = with_finished(with_deleted_job(o), (*o.pods, *o.removed_pods))
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
    return _with_notes(o, status, o.job) if o.job else status


def _with_notes(o: Observation, status: PersonalizationStatus, job: Job) -> PersonalizationStatus:
    """What was written down about the Job when it was made."""
    notes = read_job_notes(job)
    status = _accepted(o, status, job.profile, _kept_times(o))
    if notes.token:
        status = status.model_copy(update={"token": notes.token})
    if notes.encoder_use:
        use = notes.encoder_use
        status = _set(o, status, ("EncoderUsed", use.used), use.reason, use.message)
    if notes.token_warning:
        status = _set(o, status, ("TokenInPrompts", False), Reason.TOKEN_MISSING, notes.token_warning)
    return status


def is_news(status: PersonalizationStatus, before: PersonalizationStatus) -> bool:
    """Whether a status is worth a write. One more attempt alone is not: the next write has it, or the last one."""
    return status.model_copy(update={"attempts": before.attempts}) != before


def with_deleted_job(o: Observation) -> list[Attempt]:
    """The attempts, with one more where the Job that the status knows is not there any longer."""
    before = o.personalization.status
    if before.job_ref is None or (o.job and o.job.uid == before.job_ref.uid):
        return before.attempts
    lost = Attempt(pod=before.job_ref.name, reason=Reason.JOB_DELETED, finish_time=timestamp(o.now))
    return [*before.attempts, lost][-MOST_ATTEMPTS:]


def not_accepted_status(o: Observation, reason: Reason, waiting: Waiting) -> PersonalizationStatus:
    return _waits(o, _set(o, observed_status(o), ("Accepted", False), reason, waiting.message), waiting)


def job_refused_status(o: Observation, profile: str, waiting: Waiting) -> PersonalizationStatus:
    return pending_status(o, waiting, _accepted(o, observed_status(o), profile))


def suspended_status(o: Observation) -> PersonalizationStatus:
    """A Job that is missing now was deleted by us, so it is not held against anybody."""
    before = o.personalization.status.attempts
    status = observed_status(o).model_copy(update={"attempts": with_finished(before, (*o.pods, *o.removed_pods))})
    status = _set(o, _without_progress(status), ("Suspended", True), Reason.SUSPENDED, "spec.suspend is true")
    for kind in ("Running", "Waiting"):
        status = _set_if_there(o, status, kind, Reason.SUSPENDED, "spec.suspend is true")
    return status


def pending_status(
    o: Observation, waiting: Waiting, status: PersonalizationStatus | None = None
) -> PersonalizationStatus:
    status = _set_if_there(
        o, _without_progress(status or observed_status(o)), "Running", Reason.POD_PENDING, waiting.message
    )
    return _waits(o, _resumed(o, status), waiting)


def running_status(o: Observation, pod: str) -> PersonalizationStatus:
    status = _set(o, observed_status(o), ("Running", True), Reason.POD_STARTED, f"in pod {pod}")
    status = status.model_copy(update={"progress": o.progress or status.progress})
    return _set_if_there(o, _resumed(o, status), "Waiting", Reason.POD_STARTED, f"in pod {pod}")


def succeeded_status(o: Observation, verdict: Verdict) -> PersonalizationStatus:
    assert verdict.result is not None
    status = outcome.published(observed_status(o), verdict.result)
    return _finished(o, _set(o, status, ("Succeeded", True), verdict.reason, truncate(verdict.message)))


def refused_status(o: Observation, reason: Reason, message: str) -> PersonalizationStatus:
    """Failed before there was a Job: nobody would accept it."""
    status = failed_status(o, reason, message)
    return _set(o, status, ("Accepted", False), reason, truncate(message))


def failed_status(o: Observation, reason: str, message: str, exit_code: int | None = None) -> PersonalizationStatus:
    status = observed_status(o)
    failure = Failure(reason=reason, message=truncate(message), exit_code=exit_code, attempt=len(status.attempts))
    status = status.model_copy(update={"failure": failure})
    return _finished(o, _set(o, status, ("Failed", True), reason, truncate(message)))


def unwritable_status(about: Personalization, now: datetime, message: str) -> PersonalizationStatus:
    """The end of one whose status the API server refused: what it took before, and why there is no more."""
    message = truncate(f"its status was not taken: {message}")
    failure = Failure(reason=Reason.RESULT_INVALID, message=message, attempt=len(about.status.attempts))
    kept = about.status.model_copy(update={"failure": failure, "waiting": None, "completion_time": timestamp(now)})
    return with_condition_set(kept, about, now, type_is=("Failed", True), reason=Reason.RESULT_INVALID, message=message)


def _without_progress(status: PersonalizationStatus) -> PersonalizationStatus:
    """The next pod begins at the first step."""
    return status.model_copy(update={"progress": None})


def _accepted(o: Observation, status: PersonalizationStatus, profile: str, but: str = "") -> PersonalizationStatus:
    return _set(o, status, ("Accepted", True), Reason.PROFILE_MATCHED, f"TuningProfile {profile} allows it{but}")


def _kept_times(o: Observation) -> str:
    """That an edit asks for more than the profile allows, so that the Job keeps what it has."""
    spec, profile = o.personalization.spec, o.profile
    over = over_the_times(spec, profile.spec.limits) if spec and isinstance(profile, Profile) else None
    return f", but {over}; the Job keeps what it has" if over else ""


def _waits(o: Observation, status: PersonalizationStatus, waiting: Waiting) -> PersonalizationStatus:
    """Also a condition, so that the State and Reason columns say it and `kubectl wait` can be used on it."""
    status = _set(o, status, ("Waiting", True), waiting.reason, waiting.message)
    return status.model_copy(update={"waiting": waiting})


def _finished(o: Observation, status: PersonalizationStatus) -> PersonalizationStatus:
    for kind in ("Running", "Waiting"):
        status = _set_if_there(o, status, kind, Reason.FINISHED, "it ended")
    about = o.personalization
    had_a_job = bool(status.job_ref or status.attempts)
    unwatched = None if deletion_takes_work(about, had_a_job=had_a_job) else True
    end = {"completion_time": timestamp(o.now), "unwatched": unwatched}
    return _resumed(o, status).model_copy(update=end)


def deletion_takes_work(about: Personalization, *, had_a_job: bool) -> bool:
    """Whether the deletion of one that finished must not be missed: our finalizer is on, or has to be."""
    return about.has_finalizer or (about.erase_on_deletion and had_a_job)


def _resumed(o: Observation, status: PersonalizationStatus) -> PersonalizationStatus:
    return _set_if_there(o, status, "Suspended", Reason.RESUMED, "spec.suspend is false")


def _set_if_there(
    o: Observation, status: PersonalizationStatus, kind: str, reason: str, message: str
) -> PersonalizationStatus:
    """Sets a condition to False only where the status has it at all: fewer lines for the reader."""
    if any(condition.type == kind for condition in status.conditions):
        return _set(o, status, (kind, False), reason, message)
    return status


def _set(
    o: Observation, status: PersonalizationStatus, type_is: tuple[str, bool], reason: str, message: str
) -> PersonalizationStatus:
    return with_condition_set(status, o.personalization, o.now, type_is=type_is, reason=reason, message=message)


def with_condition_set(
    status: PersonalizationStatus,
    about: Personalization,
    now: datetime,
    *,
    type_is: tuple[str, bool],
    reason: str,
    message: str,
) -> PersonalizationStatus:
    """The status with a condition of that type, True or False, in its place."""
    kind, value = type_is
    new = condition_of(kind, value=value, reason=reason, message=message, now=now, generation=about.generation)
    return status.model_copy(update={"conditions": with_condition(status.conditions, new)})
