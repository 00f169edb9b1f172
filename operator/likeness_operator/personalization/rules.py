"""The rules for a live Personalization. They are read in order and the first one that answers decides; this list is the
whole state machine.

No rule remembers anything: they may decide twice, late, or in a second operator, and comes out the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from likeness_api.accept import Refusal, accept, over_the_times
from likeness_api.order import Order
from likeness_api.personalization import Waiting, default_token
from likeness_api.reason import FINAL_EXIT_CODES, Reason
from likeness_operator.engine.decision import (
    AddFinalizer,
    CreateJob,
    Decision,
    DeleteJob,
    Fresh,
    PatchJob,
    Question,
    Rule,
    Unwatch,
)
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.kubernetes.workload import why_queued
from likeness_operator.personalization import status
from likeness_operator.personalization.attempt import by_finish
from likeness_operator.personalization.decision import PersonalizationDecision
from likeness_operator.personalization.end_rules import final_failure, job_failed, job_succeeded, out_of_memory
from likeness_operator.personalization.job import build_job, ttl_seconds
from likeness_operator.personalization.job_notes import ordered_digest
from likeness_operator.personalization.observation import Observation
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.waiting import still_running, why_waiting

MOST_DELETED_JOBS = 3
"""How often a Job that somebody deleted is created again; then somebody must mean it."""
FOLLOWUP_SECONDS = 3.0
"""What is over by itself within this time (a pod that starts, a Job that notices its pod's end) is worth no write."""
OVERDUE_SECONDS = 30.0
"""A kubelet needs a moment to report that a pod has ended; one that has not by then is not there any more."""
LONGEST_PAUSE_SECONDS = 300.0
"""The longest time between two questions why a Job has no pod, or what Kueue says of it."""
WAITS_FOR = {
    Reason.PROFILE_NOT_FOUND: "create the TuningProfile, or create the Personalization again with another spec.profile",
    Reason.NO_DEFAULT_PROFILE: "set spec.default on exactly one TuningProfile, or name one in spec.profile",
    Reason.INVALID_PROFILE: "correct the TuningProfile",
    Reason.PROFILE_NOT_ALLOWED: "have the namespace added to the TuningProfile's allowedNamespaces (after a label was"
    " added, it goes on within five minutes), or create the Personalization again with another spec.profile",
}
"""What the platform team can put right; every other refusal is final, because the spec cannot change."""


def finalizer_missing(o: Observation) -> PersonalizationDecision | None:
    """Where a Job was made, somebody took our finalizer off: `helm uninstall` does."""
    had_a_job = o.job is not None or o.personalization.had_a_job
    return Decision(action=AddFinalizer()) if _lacks_finalizer(o) and had_a_job else None


def already_finished(o: Observation) -> PersonalizationDecision | None:
    """Never started again. A Job that would still retry (a pod over its memory limit) is stopped now."""
    if not o.personalization.finished:
        return None
    job = _own_job(o)
    if job and not job.outcome_decided and not job.terminating:
        return Decision(action=DeleteJob(job))
    about = o.personalization
    if not about.unwatched and not status.deletion_takes_work(about, had_a_job=about.had_a_job):
        return Decision(action=Unwatch())  # it finished under an operator that did not say so yet
    return Decision()


def spec_unreadable(o: Observation) -> PersonalizationDecision | None:
    if o.personalization.spec is not None:
        return None
    return final_failure(status.refused_status(o, Reason.INVALID_SPEC, o.personalization.problem))


def name_taken(o: Observation) -> PersonalizationDecision | None:
    if o.job is None or (_own_job(o) and _made_by_us(o, o.job)):
        return None
    message = f"there is a Job {o.job.name} that was not made for this Personalization; expected none of that name"
    return final_failure(status.failed_status(replace(o, job=None, pods=()), Reason.JOB_NAME_TAKEN, message))


def job_going_away(o: Observation) -> PersonalizationDecision | None:
    """Its name is free when it is gone; the watch tells."""
    return Decision() if o.job and o.job.terminating else None


def suspend_wanted(o: Observation) -> PersonalizationDecision | None:
    if o.personalization.spec is None or not o.personalization.spec.suspend:
        return None
    if o.job and o.job.queued:
        # Kueue starts whatever it admitted, so a suspended Job would not stay suspended: it is created again later.
        return Decision(action=DeleteJob(o.job))
    if o.job and not o.job.suspended:
        return Decision(action=PatchJob(o.job, {"suspend": True}))
    return _on_what_is_there(o, Decision(status=status.suspended_status(o)))


def job_refused(o: Observation) -> PersonalizationDecision | None:
    if o.job_refusal is None or not isinstance(o.profile, Profile):
        return None
    return _on_what_is_there(o, Decision(status=status.job_refused_status(o, o.profile.name, o.job_refusal)))


def job_deleted_too_often(o: Observation) -> PersonalizationDecision | None:
    deleted = [attempt for attempt in status.with_deleted_job(o) if attempt.reason == Reason.JOB_DELETED]
    if o.job or len(deleted) < MOST_DELETED_JOBS:
        return None
    message = f"its Job was deleted {len(deleted)} times before it ended; expected it to be left alone"
    return final_failure(status.failed_status(o, Reason.JOB_DELETED, message))


def job_missing(o: Observation) -> PersonalizationDecision | None:
    return _on_what_is_there(o, _start(o)) if o.job is None else None


def job_differs(o: Observation) -> PersonalizationDecision | None:
    """What a user may change after creation reaches the Job: resuming, the deadline, the time to live."""
    assert o.job is not None
    assert o.personalization.spec is not None
    wanted = {
        "activeDeadlineSeconds": o.personalization.spec.active_deadline_seconds,
        "ttlSecondsAfterFinished": ttl_seconds(o.personalization.spec.ttl_seconds_after_finished),
    }
    found: K8sObject = {
        "activeDeadlineSeconds": o.job.active_deadline_seconds,
        "ttlSecondsAfterFinished": o.job.ttl_seconds_after_finished,
    }
    changes: K8sObject = {field: value for field, value in wanted.items() if found[field] != value}
    if changes and o.profile is None:
        return Decision(question=Question.PROFILE)
    if isinstance(o.profile, Profile) and over_the_times(o.personalization.spec, o.profile.spec.limits):
        changes = {}  # the Job keeps what it has; the status says so
    if o.job.suspended and not o.job.queued:
        if o.profile is None:
            return Decision(question=Question.PROFILE)
        if isinstance(o.profile, Profile) and _limited(o.profile) and o.slot is None:
            return Decision(question=Question.SLOT)
        if isinstance(o.profile, Profile) and _limited(o.profile) and not o.slot:
            return Decision(status=status.pending_status(o, _slot_awaited(o, o.profile)))
        changes["suspend"] = False
    return Decision(action=PatchJob(o.job, changes)) if changes else None


def pod_running(o: Observation) -> PersonalizationDecision | None:
    """One that does not end when it should is not called running: most likely its node is gone. No watch tells."""
    overdue = [
        (pod, _overdue_seconds(o, pod.deletion_timestamp))
        for pod in o.pods
        if pod.deletion_timestamp and not pod.finished
    ]
    late = [pod for pod, seconds in overdue if seconds >= 0]
    if late:
        return Decision(status=status.pending_status(o, still_running(late[-1])))
    again = min((-seconds for _, seconds in overdue), default=None)
    running = [pod for pod in o.pods if pod.running]
    return Decision(status=status.running_status(o, running[-1].name), requeue_after_seconds=again) if running else None


def awaiting_followup(o: Observation) -> PersonalizationDecision | None:
    """Between two events that follow each other by themselves there is nothing to tell anybody."""
    assert o.job is not None
    ended = by_finish(o.pods)
    if ended and (ended[-1].phase == "Succeeded" or _is_final(ended[-1])):
        return Decision(requeue_after_seconds=FOLLOWUP_SECONDS)  # the Job controller has yet to notice
    before = o.personalization.status
    waited = before.waiting is not None and before.waiting.reason != Reason.CONCURRENCY_LIMIT
    if waited or (before.job_ref and before.job_ref.uid != o.job.uid):
        return None
    moments = [o.job.created] + [datetime.fromisoformat(pod.finished_at) for pod in ended if pod.finished_at]
    age = (o.now - max(moments)).total_seconds()
    return Decision(requeue_after_seconds=FOLLOWUP_SECONDS - age) if 0 <= age < FOLLOWUP_SECONDS else None


def kueue_holds_it(o: Observation) -> PersonalizationDecision | None:
    """Before its turn, or when Kueue has taken its quota back; that is no failure, and the Job controller charges none.

    Workloads are listed, not watched: a watch would bring those of the whole cluster. That Kueue starts the Job is
    reported by the Job's own watch, so only the words may be late.
    """
    assert o.job is not None
    if not (o.job.queued and o.job.suspended):
        return None
    if o.workloads is None:
        return Decision(question=Question.WORKLOADS)
    waits = [condition for condition in o.personalization.status.conditions if condition.type == "Waiting"]
    began = [datetime.fromisoformat(each.last_transition_time) for each in waits if each.status == "True"]
    decided = status.pending_status(o, why_queued(o.job, o.workloads))
    return Decision(status=decided, requeue_after_seconds=_pause(o, began[0] if began else o.now))


def pod_pending(o: Observation) -> PersonalizationDecision:
    assert o.job is not None
    waiting = why_waiting(o.job, o.pods, o.personalization.status.waiting, o.pod_refusal)
    if waiting.reason == Reason.NO_POD and o.pod_refusal is None:
        return Decision(question=Question.POD_REFUSAL)
    again = _pause(o, o.job.created) if o.pod_refusal is not None else None
    return Decision(status=status.pending_status(o, waiting), requeue_after_seconds=again)


RULES: tuple[Rule[Observation], ...] = (
    finalizer_missing,
    already_finished,
    spec_unreadable,
    name_taken,
    job_succeeded,
    out_of_memory,
    job_failed,
    job_going_away,
    suspend_wanted,
    job_refused,
    job_deleted_too_often,
    job_missing,
    job_differs,
    pod_running,
    awaiting_followup,
    kueue_holds_it,
    pod_pending,
)


def _start(o: Observation) -> PersonalizationDecision:
    """Once there is a profile that accepts it, and a slot."""
    owner = o.personalization
    assert owner.spec is not None
    if o.profile is None:
        return Decision(question=Question.PROFILE)
    if isinstance(o.profile, Refusal):
        return _refused(o, o.profile)
    order = accept(owner.name, owner.namespace, owner.spec, o.profile.spec)
    return _refused(o, order) if isinstance(order, Refusal) else _create(o, o.profile, order)


def _create(o: Observation, profile: Profile, order: Order) -> PersonalizationDecision:
    if _limited(profile) and o.slot is None:
        return Decision(question=Question.SLOT)
    if _limited(profile) and not o.slot:
        return Decision(status=status.job_refused_status(o, profile.name, _slot_awaited(o, profile)))
    if _lacks_finalizer(o):
        return Decision(action=AddFinalizer())  # before anything can be published
    return Decision(action=CreateJob(build_job(o.personalization, profile.name, profile.spec, order, o.progress_url)))


def _on_what_is_there(o: Observation, decision: PersonalizationDecision) -> PersonalizationDecision:
    """`decision`, but where the Job is missing that the status knows, only once it is known to be gone."""
    lost = o.job is None and o.personalization.status.job_ref is not None
    return replace(decision, needs_fresh=Fresh.EVERYTHING) if lost else decision


def _pause(o: Observation, since: datetime) -> float:
    """Until the next question. The longer it has lasted, the less it matters to learn of a change at once."""
    return min(max((o.now - since).total_seconds(), FOLLOWUP_SECONDS), LONGEST_PAUSE_SECONDS)


def _overdue_seconds(o: Observation, deletion_timestamp: str) -> float:
    return (o.now - datetime.fromisoformat(deletion_timestamp)).total_seconds() - OVERDUE_SECONDS


def _own_job(o: Observation) -> Job | None:
    return o.job if o.job and o.job.owner_uid == o.personalization.uid else None


def _made_by_us(o: Observation, job: Job) -> bool:
    """Whether the operator made the Job that says this Personalization owns it: its status, which nobody else writes,
    names it, or it has what only we put on it. A Job of a release before this one has nothing, but soon a status.
    """
    about = o.personalization
    if about.status.job_ref is not None and about.status.job_ref.uid == job.uid:
        return True
    if about.spec is None:
        return False
    token = about.spec.token or default_token(about.name)
    digest = ordered_digest(about.uid, about.namespace, about.name, about.spec.output, token)
    return job.annotation(label.ORDERED) == digest


def _lacks_finalizer(o: Observation) -> bool:
    about = o.personalization
    return about.spec is not None and about.spec.deletion_policy == "Delete" and not about.has_finalizer


def _is_final(pod: Pod) -> bool:
    return pod.disruption is None and pod.exit_code in FINAL_EXIT_CODES


def _refused(o: Observation, refusal: Refusal) -> PersonalizationDecision:
    if refusal.reason not in WAITS_FOR and not refusal.can_change:
        return final_failure(status.refused_status(o, refusal.reason, refusal.message))
    step = "edit the Personalization: it then goes on" if refusal.can_change else WAITS_FOR[refusal.reason]
    waiting = Waiting(reason=refusal.reason, message=truncate(refusal.message), next_step=step)
    return Decision(status=status.not_accepted_status(o, refusal.reason, waiting))


def _limited(profile: Profile) -> bool:
    return profile.spec.max_concurrent is not None


def _slot_awaited(o: Observation, profile: Profile) -> Waiting:
    """No place in the line: each one that ends would change it, and cost a write for all that wait."""
    limit = profile.spec.max_concurrent
    return Waiting(
        reason=Reason.CONCURRENCY_LIMIT,
        message=f"TuningProfile {profile.name} lets {limit} run at once in namespace {o.personalization.namespace}",
        next_step="wait: the oldest one starts when another one ends; or have the TuningProfile's maxConcurrent raised",
    )
