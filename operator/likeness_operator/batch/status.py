"""What the status of a batch says in each situation."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from likeness_api.batch_result import BatchResult
from likeness_api.field import timestamp
from likeness_api.personalization import Waiting
from likeness_api.personalization_batch import (
    BatchEstimate,
    BatchPlanStatus,
    Counts,
    FailureSample,
    PassProgress,
    PersonalizationBatchSpec,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.published import batch_home
from likeness_api.reason import Reason
from likeness_operator.batch.observation import BatchObservation, Reported
from likeness_operator.batch.scale import BatchPace, WorkerGoal, eta
from likeness_operator.kubernetes.condition import condition_of, truncate, with_condition

SAMPLE_BYTES = 384
"""Of a failure's message: ten of them leave the status below 20 kB."""
MINUTE = timedelta(minutes=1)


def says_more(status: PersonalizationBatchStatus, before: PersonalizationBatchStatus) -> bool:
    """Whether a status says more than other numbers, which are written seldom."""
    return _without_numbers(status) != _without_numbers(before)


def observed(o: BatchObservation) -> PersonalizationBatchStatus:
    """What is true in every situation; `waiting` is empty until it is set anew."""
    spec = o.batch.spec
    changes = {
        "observed_generation": o.batch.generation,
        "revision": o.batch.revision,
        "waiting": None,
        "workers": len(o.running_workers()),
        "workers_wanted": o.workers_wanted,
    }
    status = o.status.model_copy(update=changes)
    return _with_reported(o, status, spec, o.reported) if spec and o.reported else status


def not_accepted(o: BatchObservation, waiting: Waiting) -> PersonalizationBatchStatus:
    status = _set(o, observed(o), "Accepted", value=False, reason=waiting.reason, message=waiting.message)
    return waits(o, waiting, status)


def accepted(o: BatchObservation, profile: str) -> PersonalizationBatchStatus:
    status = observed(o).model_copy(update={"profile": profile})
    message = f"TuningProfile {profile} allows it"
    return _set(o, status, "Accepted", value=True, reason=Reason.PROFILE_MATCHED, message=message)


def waits(
    o: BatchObservation, waiting: Waiting, status: PersonalizationBatchStatus | None = None
) -> PersonalizationBatchStatus:
    """Also a condition, so that the State column says it and `kubectl wait` can be used on it."""
    status = status or observed(o)
    status = _set_if_there(o, status, "Running", Reason.POD_PENDING, waiting.message)
    status = _set(o, _resumed(o, status), "Waiting", value=True, reason=waiting.reason, message=waiting.message)
    return status.model_copy(update={"waiting": waiting})


def running(
    o: BatchObservation, reason: Reason, message: str, status: PersonalizationBatchStatus | None = None
) -> PersonalizationBatchStatus:
    status = _set(o, status or observed(o), "Running", value=True, reason=reason, message=message)
    if status.start_time is None:
        status = status.model_copy(update={"start_time": timestamp(o.now)})
    return _set_if_there(o, _resumed(o, status), "Waiting", reason, message)


def suspended(
    o: BatchObservation, reason: str, message: str, next_step: str | None = None
) -> PersonalizationBatchStatus:
    """By the user, or by the circuit breaker: then there is something to be mended."""
    status = _set(o, observed(o), "Suspended", value=True, reason=reason, message=message)
    for kind in ("Running", "Waiting"):
        status = _set_if_there(o, status, kind, reason, message)
    if next_step is None:
        return status
    return status.model_copy(update={"waiting": Waiting(reason=reason, message=message, next_step=next_step)})


def planned(
    o: BatchObservation, result: BatchResult, steps: int, price: str | None = None
) -> PersonalizationBatchStatus:
    """The source was read, or the next pass sorted. `price` is what a worker costs in an hour."""
    status, spec = observed(o), o.batch.spec
    assert spec is not None
    if status.plan is None:
        plan = BatchPlanStatus(
            lines=result.lines,
            subjects=result.planned,
            skipped=result.skipped,
            failed=result.failed,
            removed=result.removed,
        )
        counts = Counts(total=plan.lines, skipped=plan.skipped, failed=plan.failed, pending=plan.subjects)
        failures = _shortened(result.failures)
        status = status.model_copy(update={"plan": plan, "counts": counts, "failures": failures})
        status = status.model_copy(update={"estimate": _estimate(result, spec, price)})
        status = _set(o, status, "Planned", value=True, reason=Reason.PLANNED, message=truncate(result.message))
    passes = [*status.passes, PassProgress(steps=steps)]
    return status.model_copy(update={"passes": passes, "shards": Shards(total=result.shards), "eta_time": None})


def _estimate(result: BatchResult, spec: PersonalizationBatchSpec, price: str | None) -> BatchEstimate | None:
    if result.seconds_each is None:
        return None
    seconds = result.planned * result.seconds_each
    told = None
    if price is not None:
        amount, _, currency = price.partition(" ")
        told = f"{Decimal(amount) * Decimal(seconds) / 3600:.2f} {currency}"
    return BatchEstimate(gpu_seconds=round(seconds), seconds=round(seconds / spec.workers.max), price=told)


def next_pass(o: BatchObservation) -> PersonalizationBatchStatus:
    """The present pass is through; the shards of the next one are to be written."""
    return observed(o).model_copy(update={"shards": None})


def incomplete(o: BatchObservation, done: Shards) -> PersonalizationBatchStatus:
    """Results showed that shards were not done after all."""
    status = observed(o)
    return status.model_copy(update={"shards": done, "collections": status.collections + 1})


def ended(
    o: BatchObservation, *, succeeded: bool, reason: str, message: str, result: BatchResult | None = None
) -> PersonalizationBatchStatus:
    status = observed(o)
    if result is not None:
        counts = Counts(
            total=result.lines, succeeded=result.succeeded, skipped=result.skipped, failed=result.failed,
            pending=max(0, result.lines - result.succeeded - result.skipped - result.failed),
        )  # fmt: skip
        status = status.model_copy(update={"counts": counts, "failures": _shortened(result.failures)})
    hours = _hours(status.start_time, o.now)
    kind = "Succeeded" if succeeded else "Failed"
    status = _set(o, status, kind, value=True, reason=reason, message=truncate(message))
    for each in ("Running", "Waiting"):
        status = _set_if_there(o, status, each, Reason.FINISHED, "it ended")
    home = _home(o)
    collected = result is not None and result.reason is Reason.COLLECTED
    changes = {
        "completion_time": timestamp(o.now),
        "eta_time": None,
        "subjects_per_hour": round(status.counts.succeeded / hours) if hours and status.counts.succeeded else None,
        "workers": 0,
        "workers_wanted": 0,
        "results": f"{home}results.jsonl" if collected else None,
        "report": f"{home}report.html" if collected else None,
    }
    return _resumed(o, status).model_copy(update=changes)


def failed_percent(status: PersonalizationBatchStatus) -> tuple[int, int]:
    """How many failed of how many that are through."""
    counts = status.counts
    return counts.failed, counts.failed + counts.succeeded + counts.skipped


def worker_goal(o: BatchObservation) -> WorkerGoal:
    """What the spec says of workers and time."""
    spec = o.batch.spec
    assert spec is not None
    return WorkerGoal(spec.workers.min, spec.workers.max, _moment(spec.complete_by), _moment(o.status.start_time))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _hours(began: str | None, now: datetime) -> float:
    moment = _moment(began)
    return (now - moment).total_seconds() / 3600 if moment else 0.0


def _home(o: BatchObservation) -> str:
    assert o.batch.spec is not None
    return f"{batch_home(o.batch.spec.template.output, o.batch.namespace, o.batch.name)}{o.batch.revision}/"


def _with_reported(
    o: BatchObservation, status: PersonalizationBatchStatus, spec: PersonalizationBatchSpec, reported: Reported
) -> PersonalizationBatchStatus:
    """Numbers never fall: what was said of a shard before a restart is heard again only in a while."""
    plan, before = status.plan or BatchPlanStatus(), status.counts
    first = len(status.passes) <= 1
    succeeded, failed = reported.succeeded, reported.failed
    if not first:  # a later pass takes nothing away, and adds nobody
        succeeded, failed = before.succeeded, before.failed - plan.failed
    succeeded = min(max(succeeded, before.succeeded), plan.subjects - (before.failed - plan.failed))
    failed = min(max(failed + plan.failed, before.failed), plan.lines - plan.skipped - succeeded)
    left = max(0, plan.lines - plan.skipped - succeeded - failed)
    counts = Counts(
        total=plan.lines,
        succeeded=succeeded,
        skipped=plan.skipped,
        failed=failed,
        running=min(reported.running, left) if first else 0,
        pending=left - min(reported.running, left) if first else left,
    )
    through = min(reported.succeeded + reported.failed, plan.subjects)
    last = status.passes[-1]
    passes = [*status.passes[:-1], last.model_copy(update={"done": max(last.done, through)})]
    changes: dict[str, object] = {
        "counts": counts,
        "passes": passes,
        "shards": reported.shards,
        "gpu_seconds": max(status.gpu_seconds, reported.gpu_seconds),
        "failures": _shortened(reported.failures),
    }
    workers = len(o.running_workers())
    pace = BatchPace(plan.subjects - passes[-1].done, reported.useful_workers, reported.per_worker_second)
    if pace.per_worker_second is not None:
        changes["subjects_per_hour"] = round(3600 * pace.per_worker_second * workers)
    done_at = eta(pace, workers, worker_goal(o), o.now) if len(passes) == len(spec.passes) else None
    if done_at is not None:
        changes["eta_time"] = timestamp(done_at)
    status = status.model_copy(update=changes)
    return _on_track(o, status, spec, done_at)


def _on_track(
    o: BatchObservation,
    status: PersonalizationBatchStatus,
    spec: PersonalizationBatchSpec,
    done_at: datetime | None,
) -> PersonalizationBatchStatus:
    if spec.complete_by is None or done_at is None:
        return status
    due = datetime.fromisoformat(spec.complete_by)
    left = status.plan.subjects - status.passes[-1].done if status.plan else 0
    pace = f"{left} subjects left, {status.subjects_per_hour} an hour with {status.workers} workers"
    early = round((due - done_at) / MINUTE)
    when = f"done by {timestamp(done_at)}, {abs(early)} minutes {'before' if early >= 0 else 'after'} completeBy"
    reason = Reason.ON_TRACK if early >= 0 else Reason.BEHIND
    return _set(o, status, "OnTrack", value=early >= 0, reason=reason, message=f"{pace}: {when}")


def _shortened(failures: list[FailureSample]) -> list[FailureSample]:
    return [
        each.model_copy(update={"message": each.message.encode()[:SAMPLE_BYTES].decode(errors="ignore")})
        for each in failures
    ]


def _without_numbers(status: PersonalizationBatchStatus) -> PersonalizationBatchStatus:
    numbers = {
        "counts": Counts(), "passes": [each.model_copy(update={"done": 0}) for each in status.passes],
        "shards": status.shards and Shards(total=status.shards.total), "gpu_seconds": 0, "failures": [],
        "subjects_per_hour": None, "eta_time": None, "workers": 0, "workers_wanted": 0,
        "conditions": [
            each.model_copy(update={"message": "", "observed_generation": 0})
            if each.type in ("OnTrack", "Running")
            else each
            for each in status.conditions
        ],
    }  # fmt: skip
    return status.model_copy(update=numbers)


def _resumed(o: BatchObservation, status: PersonalizationBatchStatus) -> PersonalizationBatchStatus:
    return _set_if_there(o, status, "Suspended", Reason.RESUMED, "it goes on")


def _set_if_there(
    o: BatchObservation, status: PersonalizationBatchStatus, kind: str, reason: str, message: str
) -> PersonalizationBatchStatus:
    """Sets a condition to False only where the status has it at all: fewer lines for the reader."""
    if any(condition.type == kind for condition in status.conditions):
        return _set(o, status, kind, value=False, reason=reason, message=message)
    return status


def _set(
    o: BatchObservation, status: PersonalizationBatchStatus, kind: str, *, value: bool, reason: str, message: str
) -> PersonalizationBatchStatus:
    message, generation = truncate(message), o.batch.generation
    new = condition_of(kind, value=value, reason=reason, message=message, now=o.now, generation=generation)
    return status.model_copy(update={"conditions": with_condition(status.conditions, new)})
