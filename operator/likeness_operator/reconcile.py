"""The rules. They are read in order and the first one that answers decides; this list is the whole state machine.

No rule remembers anything: a decision may be asked for twice, late, or by a second operator, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from likeness_api.accept import Refusal, accept
from likeness_api.personalization import Waiting
from likeness_api.reason import FINAL_EXIT_CODES, Reason
from likeness_operator import status
from likeness_operator.attempt import DISRUPTED, Verdict, by_finish, verdict
from likeness_operator.condition import cut
from likeness_operator.decision import CreateJob, Decision, DeleteJob, Guard, Observation, PatchJob, Profile
from likeness_operator.erasure import erase
from likeness_operator.job import build_job, ttl_seconds
from likeness_operator.observed import Job, Manifest, Pod
from likeness_operator.waiting import still_running, why_waiting
from likeness_operator.workload import why_queued

MOST_DELETED_JOBS = 3
"""So often a Job that was deleted under us is created again; then somebody must mean it."""
SETTLE_SECONDS = 3.0
"""What passes by itself within this time (a pod that starts, a Job that notices its pod's end) is worth no write."""
OVERDUE_SECONDS = 30.0
"""A kubelet needs a moment to tell that a pod has ended; one that has told nothing by then is not there any more."""
LONGEST_UNASKED_SECONDS = 300.0
"""Between two questions why a Job has no pod, or what Kueue says of it."""
WAITS_FOR = {
    Reason.PROFILE_NOT_FOUND: "create the TuningProfile, or create the Personalization again with another spec.profile",
    Reason.NO_DEFAULT_PROFILE: "set spec.default on exactly one TuningProfile, or name one in spec.profile",
    Reason.INVALID_PROFILE: "correct the TuningProfile",
}
"""What the platform team can put right; every other refusal is final, because the spec cannot change."""


def reconcile(observation: Observation) -> Decision:
    for rule in RULES:
        decision = rule(observation)
        if decision is not None:
            return decision
    raise AssertionError("the last rule always answers")


def being_deleted(o: Observation) -> Decision | None:
    """Its Job goes with it, by its owner reference."""
    if not o.personalization.deleting:
        return None
    return erase(o) if o.personalization.guarded else Decision()


def unguarded(o: Observation) -> Decision | None:
    """Where a Job was made, somebody took our finalizer off: `helm uninstall` does."""
    known = o.personalization.status
    return Decision(action=Guard()) if _lacks_guard(o) and (o.job or known.job_ref or known.attempts) else None


def already_finished(o: Observation) -> Decision | None:
    """Never started again. A Job that would still retry (a pod over its memory limit) is stopped now."""
    if not o.personalization.finished:
        return None
    job = _own_job(o)
    return Decision(action=DeleteJob(job)) if job and not job.settled and not job.deleting else Decision()


def spec_unreadable(o: Observation) -> Decision | None:
    if o.personalization.spec is not None:
        return None
    return Decision(status=status.refused(o, Reason.INVALID_SPEC, o.personalization.problem))


def name_taken(o: Observation) -> Decision | None:
    if o.job is None or _own_job(o):
        return None
    message = f"there is a Job {o.job.name} that does not belong to this Personalization; expected none of that name"
    return Decision(status=status.failed(replace(o, job=None, pods=()), Reason.JOB_NAME_TAKEN, message))


def job_succeeded(o: Observation) -> Decision | None:
    if o.job is None or not o.job.succeeded:
        return None
    done = [pod for pod in by_finish((*o.pods, *o.taken_away)) if pod.phase == "Succeeded"]
    if not done:
        # The pod is gone and with it the result. What it published is there: the next Job just finds it.
        return None if o.job.deleting else Decision(action=DeleteJob(o.job))
    end = verdict(done[-1])
    if end.result is None:
        return Decision(status=status.failed(o, end.reason, end.message, done[-1].exit_code))
    return Decision(status=status.succeeded(o, end))


def out_of_memory(o: Observation) -> Decision | None:
    """The same limit would be hit again. The Job is deleted after this is written: see `already_finished`."""
    for pod in by_finish(o.pods):
        if pod.end_reason == "OOMKilled" and pod.disruption is None:
            return Decision(status=status.failed(o, Reason.OUT_OF_MEMORY, verdict(pod).message, pod.exit_code))
    return None


def job_failed(o: Observation) -> Decision | None:
    if o.job is None or o.job.failure_reason is None:
        return None
    if o.job.failure_reason == "DeadlineExceeded":
        message = f"the Job did not end within activeDeadlineSeconds, {o.job.active_deadline_seconds}"
        return Decision(status=status.failed(o, Reason.DEADLINE_EXCEEDED, message))
    last, end = _last_charged(o.pods)
    if last is None or end is None:
        message = f"Job {o.job.name} failed and its pods are gone: {o.job.failure_message}"
        return Decision(status=status.failed(o, _last_known(o), message))
    attempts = len([pod for pod in o.pods if pod.ended and pod.disruption is None])
    message = f"{end.message} (after {attempts} attempts)" if attempts > 1 else end.message
    return Decision(status=status.failed(o, end.reason, message, last.exit_code))


def job_going_away(o: Observation) -> Decision | None:
    """Its name is free when it is gone; the watch tells."""
    return Decision() if o.job and o.job.deleting else None


def suspend_wanted(o: Observation) -> Decision | None:
    if o.personalization.spec is None or not o.personalization.spec.suspend:
        return None
    if o.job and o.job.queued:
        # Kueue starts whatever it admitted, so a suspended Job would not stay suspended: it is created again later.
        return Decision(action=DeleteJob(o.job))
    if o.job and not o.job.suspended:
        return Decision(action=PatchJob(o.job, {"suspend": True}))
    return Decision(status=status.suspended(o))


def job_refused(o: Observation) -> Decision | None:
    if o.job_refusal is None or not isinstance(o.profile, Profile):
        return None
    return Decision(status=status.job_refused(o, o.profile.name, o.job_refusal))


def job_deleted_too_often(o: Observation) -> Decision | None:
    deleted = [attempt for attempt in status.with_deleted_job(o) if attempt.reason == Reason.JOB_DELETED]
    if o.job or len(deleted) < MOST_DELETED_JOBS:
        return None
    message = f"its Job was deleted {len(deleted)} times before it ended; expected it to be left alone"
    return Decision(status=status.failed(o, Reason.JOB_DELETED, message))


def job_missing(o: Observation) -> Decision | None:
    if o.job is not None:
        return None
    owner = o.personalization
    assert owner.spec is not None
    assert o.profile is not None, "the profile is looked up wherever there is no Job"
    if isinstance(o.profile, Refusal):
        return _refused(o, o.profile)
    order = accept(owner.name, owner.namespace, owner.spec, o.profile.spec)
    if isinstance(order, Refusal):
        return _refused(o, order)
    if not o.turn:
        return Decision(status=status.job_refused(o, o.profile.name, _turn_awaited(o, o.profile)))
    if _lacks_guard(o):
        return Decision(action=Guard())  # before anything can be published
    return Decision(action=CreateJob(build_job(owner, o.profile.name, o.profile.spec, order, o.progress_url)))


def job_differs(o: Observation) -> Decision | None:
    """What a user may change after creation reaches the Job: resuming, the deadline, the time to live."""
    assert o.job is not None
    assert o.personalization.spec is not None
    wanted = {
        "activeDeadlineSeconds": o.personalization.spec.active_deadline_seconds,
        "ttlSecondsAfterFinished": ttl_seconds(o.personalization.spec.ttl_seconds_after_finished),
    }
    found: Manifest = {
        "activeDeadlineSeconds": o.job.active_deadline_seconds,
        "ttlSecondsAfterFinished": o.job.ttl_seconds_after_finished,
    }
    changes: Manifest = {field: value for field, value in wanted.items() if found[field] != value}
    if o.job.suspended and not o.job.queued:
        if not o.turn and isinstance(o.profile, Profile):
            return Decision(status=status.pending(o, _turn_awaited(o, o.profile)))
        changes["suspend"] = False
    return Decision(action=PatchJob(o.job, changes)) if changes else None


def pod_running(o: Observation) -> Decision | None:
    """One that does not end when it should is not called running: most likely its node is gone. No watch tells."""
    overdue = [(pod, _overdue_seconds(o, pod.due_to_go)) for pod in o.pods if pod.due_to_go and not pod.ended]
    late = [pod for pod, seconds in overdue if seconds >= 0]
    if late:
        return Decision(status=status.pending(o, still_running(late[-1])))
    again = min((-seconds for _, seconds in overdue), default=None)
    running = [pod for pod in o.pods if pod.running]
    return Decision(status=status.running(o, running[-1].name), look_again_seconds=again) if running else None


def settling(o: Observation) -> Decision | None:
    """Between two events that follow each other by themselves there is nothing to tell anybody."""
    assert o.job is not None
    ended = by_finish(o.pods)
    if ended and (ended[-1].phase == "Succeeded" or _is_final(ended[-1])):
        return Decision(look_again_seconds=SETTLE_SECONDS)  # the Job controller has yet to notice
    before = o.personalization.status
    waited = before.waiting is not None and before.waiting.reason != Reason.CONCURRENCY_LIMIT
    if waited or (before.job_ref and before.job_ref.uid != o.job.uid):
        return None
    moments = [o.job.created] + [datetime.fromisoformat(pod.finished_at) for pod in ended if pod.finished_at]
    age = (o.now - max(moments)).total_seconds()
    return Decision(look_again_seconds=SETTLE_SECONDS - age) if 0 <= age < SETTLE_SECONDS else None


def kueue_holds_it(o: Observation) -> Decision | None:
    """Before its turn, or when Kueue has taken its quota back; that is no failure, and the Job controller charges none.

    Workloads are asked for, not watched: a watch would bring those of the whole cluster. That Kueue starts the Job is
    told by the Job's own watch, so only the words may be late.
    """
    assert o.job is not None
    if not (o.job.queued and o.job.suspended):
        return None
    if o.workloads is None:
        return Decision(asks_for_workloads=True)
    waits = [condition for condition in o.personalization.status.conditions if condition.type == "Waiting"]
    began = [datetime.fromisoformat(each.last_transition_time) for each in waits if each.status == "True"]
    decided = status.pending(o, why_queued(o.job, o.workloads))
    return Decision(status=decided, look_again_seconds=_pause(o, began[0] if began else o.now))


def pod_pending(o: Observation) -> Decision:
    assert o.job is not None
    waiting = why_waiting(o.job, o.pods, o.personalization.status.waiting, o.pod_refusal)
    if waiting.reason == Reason.NO_POD and o.pod_refusal is None:
        return Decision(asks_for_pod_refusal=True)
    again = _pause(o, o.job.created) if o.pod_refusal is not None else None
    return Decision(status=status.pending(o, waiting), look_again_seconds=again)


RULES: tuple[Callable[[Observation], Decision | None], ...] = (
    being_deleted,
    unguarded,
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
    settling,
    kueue_holds_it,
    pod_pending,
)


def _pause(o: Observation, since: datetime) -> float:
    """No watch tells of this. The longer it has lasted, the less it matters to hear of a change at once."""
    return min(max((o.now - since).total_seconds(), SETTLE_SECONDS), LONGEST_UNASKED_SECONDS)


def _overdue_seconds(o: Observation, due_to_go: str) -> float:
    return (o.now - datetime.fromisoformat(due_to_go)).total_seconds() - OVERDUE_SECONDS


def _own_job(o: Observation) -> Job | None:
    return o.job if o.job and o.job.owner_uid == o.personalization.uid else None


def _lacks_guard(o: Observation) -> bool:
    about = o.personalization
    return about.spec is not None and about.spec.deletion_policy == "Delete" and not about.guarded


def _is_final(pod: Pod) -> bool:
    return pod.disruption is None and pod.exit_code in FINAL_EXIT_CODES


def _refused(o: Observation, refusal: Refusal) -> Decision:
    if refusal.reason not in WAITS_FOR:
        return Decision(status=status.refused(o, refusal.reason, refusal.message))
    waiting = Waiting(reason=refusal.reason, message=cut(refusal.message), next_step=WAITS_FOR[refusal.reason])
    return Decision(status=status.not_accepted(o, refusal.reason, waiting))


def _turn_awaited(o: Observation, profile: Profile) -> Waiting:
    """No place in the line: each one that ends would change it, and cost a write for all that wait."""
    limit = profile.spec.max_concurrent
    return Waiting(
        reason=Reason.CONCURRENCY_LIMIT,
        message=f"TuningProfile {profile.name} lets {limit} run at once in namespace {o.personalization.namespace}",
        next_step="wait: the oldest one starts when another one ends; or have the TuningProfile's maxConcurrent raised",
    )


def _last_charged(pods: tuple[Pod, ...]) -> tuple[Pod | None, Verdict | None]:
    """The newest pod that failed by itself, and how."""
    charged = [pod for pod in by_finish(pods) if pod.disruption is None]
    return (charged[-1], verdict(charged[-1])) if charged else (None, None)


def _last_known(o: Observation) -> str:
    """The reason of the last attempt that the status remembers, for when the pods are gone."""
    charged = [attempt.reason for attempt in status.observed(o).attempts if attempt.reason not in DISRUPTED]
    return charged[-1] if charged else Reason.RETRIES_EXHAUSTED
