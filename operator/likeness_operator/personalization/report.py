"""What is reported about a Personalization after the write: metrics, and the event of a failure."""

from __future__ import annotations

from datetime import datetime

from likeness_api.personalization import Failure
from likeness_operator import metrics
from likeness_operator.kubernetes.event import EventContent
from likeness_operator.personalization.facts import Personalization


def failure_event(failure: Failure) -> EventContent:
    """The event of an end in failure. All else is in the conditions; an event is for when the object is gone.

    A tune that goes well costs three writes: its Job, `Running` and `Succeeded`. The Job has events of its own.
    """
    return EventContent("Warning", failure.reason, "Finish", failure.message)


def count_job(owner: Personalization, now: datetime) -> None:
    """Counts a Job that was created. Only the first one tells how long its user waited for the operator."""
    metrics.JOBS_CREATED.inc()
    if owner.status.job_ref is None and not owner.status.attempts:
        metrics.SECONDS_TO_JOB.observe(_seconds(owner.created, now))


def count_end(finished: Personalization, reason: str, now: datetime) -> None:
    """Counts a Personalization whose end has been written into its status."""
    metrics.FINISHED.labels(reason=reason).inc()
    for attempt in finished.status.attempts:
        metrics.ATTEMPTS.labels(reason=attempt.reason).inc()
    if finished.status.failure is None:
        metrics.SECONDS_TO_RESULT.observe(_seconds(finished.created, now))
    if finished.status.failure is None and finished.status.start_time is not None:
        metrics.TUNE_SECONDS.observe(_seconds(datetime.fromisoformat(finished.status.start_time), now))


def _seconds(since: datetime, now: datetime) -> float:
    """Not below zero, though the clocks of two machines may say so."""
    return max(0.0, (now - since).total_seconds())
