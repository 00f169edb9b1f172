"""The rules for a live PersonalizationBatch, read in order; the first one that answers decides. This list is the whole
state machine: the source is read, shards are worked on, pass by pass, results are collected.
"""

from __future__ import annotations

from datetime import datetime

from likeness_api.accept import Refusal
from likeness_api.batch_order import BatchOrder, accept_batch
from likeness_api.batch_result import BatchResult
from likeness_api.personalization import Waiting
from likeness_api.personalization_batch import (
    JUDGED_FROM,
    MOST_RANGE_CHARACTERS,
    PersonalizationBatchSpec,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.reason import Reason
from likeness_api.shard_ranges import decode_ranges, encode_ranges
from likeness_operator.batch import status
from likeness_operator.batch.facts import lacks_finalizer
from likeness_operator.batch.job import JobPlace, Role, build_batch_job, made_by_us, place_of
from likeness_operator.batch.observation import BatchObservation
from likeness_operator.batch.shard_ledgers import NUMBERS_SECONDS
from likeness_operator.batch.worker_end import BatchVerdict, fruitless_ends, job_verdict
from likeness_operator.engine.decision import AddFinalizer, CreateJob, Decision, DeleteJob, Question, Rule
from likeness_operator.kubernetes.condition import truncate
from likeness_operator.kubernetes.job import Job
from likeness_operator.personalization.attempt import by_finish
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.rules import FOLLOWUP_SECONDS
from likeness_operator.personalization.waiting import why_waiting

BatchDecision = Decision[PersonalizationBatchStatus]
MOST_COLLECTIONS = 5
FRUITLESS_ENDS = 5
"""Workers that ended in a row without a subject done in between, until no more are started."""
TRY_AGAIN_SECONDS = 300.0
"""After these, one worker tries whether it goes on."""
LONG_PENDING_SECONDS = 30.0


def batch_finalizer_missing(o: BatchObservation) -> BatchDecision | None:
    """It was accepted, so its first Job comes next."""
    return Decision(action=AddFinalizer()) if lacks_finalizer(o.batch) else None


def batch_finished(o: BatchObservation) -> BatchDecision | None:
    if not o.batch.finished:
        return None
    return _end_jobs(o, o.jobs) or Decision()


def batch_unreadable(o: BatchObservation) -> BatchDecision | None:
    if o.batch.spec is not None:
        return None
    return _not_accepted(o, Refusal(Reason.INVALID_SPEC, o.batch.problem))


def jobs_of_another_revision(o: BatchObservation) -> BatchDecision | None:
    """They may still publish, which does no harm, but nobody waits for them."""
    return _end_jobs(o, tuple(job for job in o.jobs if place_of(o.batch, job) is None))


def job_name_taken(o: BatchObservation) -> BatchDecision | None:
    taken = [job for job in o.jobs if place_of(o.batch, job) and not made_by_us(o.batch, job)]
    if not taken:
        return None
    message = f"there is a Job {taken[0].name} that was not made for this batch; expected none of that name"
    waiting = Waiting(reason=Reason.JOB_NAME_TAKEN, message=message, next_step="delete that Job")
    return Decision(status=status.waits(o, waiting))


def batch_suspended(o: BatchObservation) -> BatchDecision | None:
    """Jobs are deleted, not suspended: Kueue would undo that. Finished ones go as well: what failed is forgotten."""
    if not _spec(o).suspend:
        return None
    decision = _end_jobs(o, o.jobs, finished=True)
    if decision is not None:
        return decision
    return Decision(status=status.suspended(o, Reason.SUSPENDED, "spec.suspend is true"))


def reports_off(o: BatchObservation) -> BatchDecision | None:
    if o.progress_url is not None:
        return None
    message = "the operator takes no reports from pods, which batches are handed out by"
    step = "install the chart with progress.enabled: true (the operator then has --progress-port and --progress-url)"
    return Decision(status=status.not_accepted(o, _waiting(Reason.REPORTS_OFF, message, step)))


def batch_job_refused(o: BatchObservation) -> BatchDecision | None:
    return Decision(status=status.waits(o, o.job_refusal)) if o.job_refusal else None


def reading_source(o: BatchObservation) -> BatchDecision | None:
    """Once for the first pass; for a later one its shards are sorted by what the one before came to."""
    if o.status.shards is not None:
        return None
    number = len(o.status.passes)
    place = JobPlace(Role.PLANNER, number)
    job = o.job(place)
    if job is None:
        return _create(o, place, pass_index=number)
    end = job_verdict(job, o.pods_of(job))
    if end is not None and end.result is not None:
        if end.result.seconds_each is not None and o.profile is None:
            return Decision(question=Question.PROFILE)  # which says what a worker costs
        price = o.profile.spec.price_per_worker_hour if isinstance(o.profile, Profile) else None
        return Decision(status=status.planned(o, end.result, _spec(o).passes[number], price))
    if end is not None:
        return _bookkeeper_ended(o, job, end)
    what = "reads the source" if number == 0 else f"sorts the subjects for the pass of {_spec(o).passes[number]} steps"
    return _bookkeeper_at_work(o, job, Reason.READING_SOURCE, what)


def only_planned(o: BatchObservation) -> BatchDecision | None:
    if _spec(o).mode != "Plan":
        return None
    plan = o.status.plan
    assert plan is not None
    message = f"{plan.subjects} subjects to tune, {plan.skipped} unchanged, {plan.failed} lines that say none"
    if (estimate := o.status.estimate) is not None:
        price = f", {estimate.price}" if estimate.price else ""
        message += (
            f": {estimate.gpu_seconds / 3600:.1f} hours of workers{price}, {estimate.seconds / 3600:.1f} hours with"
            f" {_spec(o).workers.max} of them"
        )
    return Decision(status=status.ended(o, succeeded=True, reason=Reason.PLANNED, message=message))


def pass_done(o: BatchObservation) -> BatchDecision | None:
    more = len(o.status.passes) < len(_spec(o).passes)
    if not (more and _all_done(o)) or _too_many_failed(o) or _too_late(o):
        return None
    return Decision(status=status.next_pass(o))


def goes_on_after_all(o: BatchObservation) -> BatchDecision | None:
    """More failures were allowed, or more time, while the results were collected as they were then."""
    if _too_many_failed(o) or _too_late(o):
        return None
    early = [job for job in o.jobs if (place := place_of(o.batch, job)) and place.unfinished]
    return _end_jobs(o, tuple(early), finished=True)


def collecting(o: BatchObservation) -> BatchDecision | None:
    """Once all is done, or enough."""
    unfinished = not _all_done(o)
    if unfinished and not (_too_many_failed(o) or _too_late(o)):
        return None
    left = _end_jobs(o, tuple(job for _, job in o.workers())) if unfinished else None  # else they end by themselves
    if left is not None:
        return left
    place = JobPlace(Role.COLLECTOR, o.status.collections, unfinished=unfinished)
    job = o.job(place)
    if job is None:
        return _create(o, place)
    end = job_verdict(job, o.pods_of(job))
    if end is not None and end.result is not None:
        return _collected(o, end.result)
    if end is not None:
        return _bookkeeper_ended(o, job, end)
    return _bookkeeper_at_work(o, job, Reason.COLLECTING, "collects the results")


def circuit_breaker(o: BatchObservation) -> BatchDecision | None:
    """What fails all workers fails all subjects; nobody's subject is to blame, so none is tried before it is mended."""
    ends = fruitless_ends(o)
    if len(ends) < FRUITLESS_ENDS or o.living_workers():
        return None
    newest = datetime.fromisoformat(ends[-1].finished_at)
    pause = TRY_AGAIN_SECONDS - (o.now - newest).total_seconds()
    if pause <= 0:
        return None
    last = ends[-1]
    message = f"{len(ends)} workers ended in a row before any subject was done, the last: {last.reason}: {last.message}"
    step = (
        f"mend what the message names: a worker tries again within {TRY_AGAIN_SECONDS / 60:.0f} minutes, or at once"
        " after spec.suspend was set to true and back; what is published stays"
    )
    return Decision(
        status=status.suspended(o, Reason.WORKERS_FAILING, truncate(message), step),
        requeue_after_seconds=max(1.0, pause),
    )


def worker_missing(o: BatchObservation) -> BatchDecision | None:
    """Numbered on, so that a finished one's name is not in the way."""
    living, wanted = o.living_workers(), o.workers_wanted
    if len(fruitless_ends(o)) >= FRUITLESS_ENDS:
        wanted = min(wanted, 1)
    if len(living) >= wanted:
        return None
    known = [place.number for job in o.jobs if (place := place_of(o.batch, job)) and place.role is Role.WORKER]
    return _create(o, JobPlace(Role.WORKER, max(known, default=-1) + 1))


def worker_unwanted(o: BatchObservation) -> BatchDecision | None:
    """One that works is released by the answer to its report; one that waits for a place to run is not needed there."""
    living = o.living_workers()
    if len(living) <= o.workers_wanted:
        return None
    idle = [job for _, job in living if not any(pod.running for pod in o.pods_of(job))]
    return Decision(action=DeleteJob(idle[-1])) if idle else None


def working(o: BatchObservation) -> BatchDecision:
    pods = o.running_workers()
    if pods:
        message = f"{len(pods)} workers, the newest in pod {max(pods, key=lambda pod: pod.started_at or '').name}"
        return Decision(status=status.running(o, Reason.WORKING, message), requeue_after_seconds=NUMBERS_SECONDS)
    living = o.living_workers()
    if not living:
        return Decision(requeue_after_seconds=FOLLOWUP_SECONDS)
    job = living[0][1]
    age = (o.now - job.created).total_seconds()
    if 0 <= age < LONG_PENDING_SECONDS and not job.suspended:
        return Decision(requeue_after_seconds=LONG_PENDING_SECONDS - age)
    if job.suspended:
        return Decision(status=status.waits(o, _queued(job)))
    waiting = why_waiting(job, o.pods_of(job), o.status.waiting)
    return Decision(status=status.waits(o, waiting), requeue_after_seconds=LONG_PENDING_SECONDS)


RULES: tuple[Rule[BatchObservation], ...] = (
    batch_finalizer_missing,
    batch_finished,
    batch_unreadable,
    jobs_of_another_revision,
    job_name_taken,
    batch_suspended,
    reports_off,
    batch_job_refused,
    reading_source,
    only_planned,
    pass_done,
    goes_on_after_all,
    collecting,
    circuit_breaker,
    worker_missing,
    worker_unwanted,
    working,
)


def _spec(o: BatchObservation) -> PersonalizationBatchSpec:
    assert o.batch.spec is not None
    return o.batch.spec


def _end_jobs(o: BatchObservation, jobs: tuple[Job, ...], *, finished: bool = False) -> BatchDecision | None:
    """Deletes our Jobs among these, one after the other; those that run alone, unless `finished` ones should go too."""
    for job in jobs:
        if not job.terminating and (finished or not job.finished) and job.owner_uid == o.batch.uid:
            return Decision(action=DeleteJob(job))
    return None


def _create(o: BatchObservation, place: JobPlace, *, pass_index: int = 0) -> BatchDecision:
    """Once there is a profile that accepts the batch."""
    if o.profile is None:
        return Decision(question=Question.PROFILE)
    if isinstance(o.profile, Refusal):
        return _not_accepted(o, o.profile)
    batch, profile, spec = o.batch, o.profile, _spec(o)
    order = accept_batch(batch.name, batch.namespace, spec, profile.spec, pass_index)
    if isinstance(order, Refusal):
        return _not_accepted(o, order)
    if not _says_accepted(o, profile):
        return Decision(status=status.accepted(o, profile.name))
    return Decision(action=CreateJob(_job(o, place, profile, order)))


def _job(o: BatchObservation, place: JobPlace, profile: Profile, order: BatchOrder) -> dict[str, object]:
    assert o.progress_url is not None
    return build_batch_job(o.batch, place, profile.name, profile.spec, order, progress_url=o.progress_url)


def _says_accepted(o: BatchObservation, profile: Profile) -> bool:
    return o.batch.written.revision == o.batch.revision and o.status.profile == profile.name


def _not_accepted(o: BatchObservation, refusal: Refusal) -> BatchDecision:
    """A batch can be edited, so none of this is final."""
    step = "correct the PersonalizationBatch, or have the TuningProfile corrected: it then goes on"
    waiting = _waiting(refusal.reason, refusal.message, step)
    return Decision(status=status.not_accepted(o, waiting), requeue_after_seconds=TRY_AGAIN_SECONDS)


def _waiting(reason: str, message: str, step: str) -> Waiting:
    return Waiting(reason=reason, message=truncate(message), next_step=step)


def _queued(job: Job) -> Waiting:
    message = f"Kueue has not admitted Job {job.name} yet"
    return _waiting(
        Reason.QUEUED, message, f"wait for its turn; `kubectl get workloads` says more about Job {job.name}"
    )


def _all_done(o: BatchObservation) -> bool:
    return o.reported is not None and o.reported.shards_left == 0


def _too_many_failed(o: BatchObservation) -> bool:
    failed, through = status.failed_percent(status.observed(o))
    worked = through - (o.status.plan.failed if o.status.plan else 0)
    return worked >= JUDGED_FROM and 100 * failed > _spec(o).max_failed_percent * through


def _too_late(o: BatchObservation) -> bool:
    """A later pass goes on until completeBy; what it does not reach keeps what an earlier one published."""
    due = _spec(o).complete_by
    return due is not None and len(o.status.passes) > 1 and o.now >= datetime.fromisoformat(due)


def _bookkeeper_ended(o: BatchObservation, job: Job, end: BatchVerdict) -> BatchDecision:
    if end.lost:
        # Its pod is gone and with it the result; what it wrote is there, and the next one just finds it.
        return Decision() if job.terminating else Decision(action=DeleteJob(job))
    return Decision(status=status.ended(o, succeeded=False, reason=end.reason, message=end.message))


def _bookkeeper_at_work(o: BatchObservation, job: Job, reason: Reason, what: str) -> BatchDecision:
    pods = o.pods_of(job)
    running = [pod for pod in pods if pod.running]
    if running:
        return Decision(status=status.running(o, reason, f"pod {running[-1].name} {what}"))
    if job.suspended:
        return Decision(status=status.waits(o, _queued(job)))
    age = (o.now - job.created).total_seconds()
    if 0 <= age < LONG_PENDING_SECONDS or by_finish(pods):
        return Decision(requeue_after_seconds=FOLLOWUP_SECONDS if by_finish(pods) else LONG_PENDING_SECONDS - age)
    return Decision(status=status.waits(o, why_waiting(job, pods, o.status.waiting)))


def _collected(o: BatchObservation, result: BatchResult) -> BatchDecision:
    if result.missing and o.status.collections < MOST_COLLECTIONS:
        missing = {shard for each in decode_ranges(result.missing) for shard in each}
        shards = o.reported.shards if o.reported else Shards()
        done = {shard for each in decode_ranges(shards.done) for shard in each}
        again = {shard for each in decode_ranges(shards.again) for shard in each} | (done & missing)
        changes = {"done": encode_ranges(done - missing), "again": encode_ranges(again, MOST_RANGE_CHARACTERS)}
        return Decision(status=status.incomplete(o, shards.model_copy(update=changes)))
    if result.missing:
        message = (
            f"shards {result.missing[:200]} of {o.batch.name} have no whole segment after {MOST_COLLECTIONS} tries"
        )
        return Decision(
            status=status.ended(o, succeeded=False, reason=Reason.RESULTS_INCOMPLETE, message=message, result=result)
        )
    percent = _spec(o).max_failed_percent
    message = f"{result.succeeded} tuned, {result.skipped} unchanged, {result.failed} failed of {result.lines}"
    if 100 * result.failed > percent * (result.succeeded + result.skipped + result.failed):
        message = f"{message}; spec.maxFailedPercent is {percent}"
        end = status.ended(o, succeeded=False, reason=Reason.TOO_MANY_FAILED, message=message, result=result)
    else:
        end = status.ended(o, succeeded=True, reason=Reason.FINISHED, message=message, result=result)
    return Decision(status=end)
