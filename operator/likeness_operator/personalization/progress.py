"""How far a tune is, from what its pod reports, and when that is worth a write to the API server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from likeness_api.personalization import Progress
from likeness_api.progress_report import REPORT_SECONDS
from likeness_operator.engine.key import Key
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.personalization.job import job_name

TOO_SOON_SECONDS = REPORT_SECONDS / 2
"""A pod keeps to REPORT_SECONDS; the network may bring two of its reports closer together."""
WRITE_SECONDS = 30.0
"""Between two writes of progress, and before the first: a tune that is over sooner costs none."""
WRITE_PERCENT = 5
"""How much further the tune must be for another write: even a tune of days costs twenty writes."""


class ReportOutcome(Enum):
    """What became of a report of progress."""

    ACCEPTED = "accepted"
    TOO_SOON = "too soon"
    UNKNOWN_POD = "unknown pod"
    """The pod is not one of that Personalization's own Job."""


@dataclass(frozen=True, slots=True)
class TrackedProgress:
    """The progress of one pod. Times are seconds of a clock that never jumps."""

    pod_uid: str
    began_at: float
    began_step: int
    reported_at: float
    written_at: float
    to_write: Progress | None = None
    """What the status should say; the pod may be further."""


def track(before: TrackedProgress | None, pod_uid: str, step: int, total_steps: int, now: float) -> TrackedProgress:
    """`before` and one more report. A pod that has not reported before starts anew."""
    if before is None or before.pod_uid != pod_uid:
        return TrackedProgress(pod_uid, began_at=now, began_step=step, reported_at=now, written_at=now)
    reported = replace(before, reported_at=now)
    percent = 100 * step // total_steps
    written_percent = before.to_write.percent if before.to_write else 0
    if now - before.written_at < WRITE_SECONDS or percent < written_percent + WRITE_PERCENT:
        return reported
    done, seconds = step - before.began_step, now - before.began_at
    eta = round((total_steps - step) * seconds / done) if done > 0 else None
    progress = Progress(step=step, total_steps=total_steps, percent=percent, eta_seconds=eta)
    return replace(reported, to_write=progress, written_at=now)


def is_too_soon(before: TrackedProgress | None, pod_uid: str, now: float) -> bool:
    """Whether a report follows the last one of the same pod more closely than a pod sends them."""
    return before is not None and before.pod_uid == pod_uid and now - before.reported_at < TOO_SOON_SECONDS


class ProgressTracker:
    """The progress of the pods that run, kept in memory as long as their Personalizations are in the cache.

    `requeue` has a Personalization reconciled whose progress is worth a write.
    """

    def __init__(self, cache: WatchCache, requeue: Callable[[Key], None], clock: Callable[[], float]) -> None:
        self._cache = cache
        self._requeue = requeue
        self._clock = clock
        self._tracked: dict[Key, TrackedProgress] = {}
        cache.on_drop.append(self._drop)

    def report(self, key: Key, pod_uid: str, step: int, total_steps: int) -> ReportOutcome:
        """Takes the report of a pod about its own Personalization."""
        if not self._is_its_pod(key, pod_uid):
            return ReportOutcome.UNKNOWN_POD
        before, now = self._tracked.get(key), self._clock()
        if is_too_soon(before, pod_uid, now):
            return ReportOutcome.TOO_SOON
        tracked = self._tracked[key] = track(before, pod_uid, step, total_steps, now)
        if tracked.to_write is not None and (before is None or tracked.to_write != before.to_write):
            self._requeue(key)
        return ReportOutcome.ACCEPTED

    def progress(self, key: Key) -> Progress | None:
        """What the status should say about how far the pod is that runs now; None where there is nothing new."""
        tracked = self._tracked.get(key)
        pod = self._cache.pod(key, tracked.pod_uid) if tracked else None
        return tracked.to_write if tracked and pod and pod.running else None

    def _drop(self, key: Key) -> None:
        self._tracked.pop(key, None)

    def _is_its_pod(self, key: Key, pod_uid: str) -> bool:
        """Whether the pod is one of the Job that has the fixed name and belongs to this very Personalization."""
        pod, uid = self._cache.pod(key, pod_uid), self._cache.uid(key)
        job = self._cache.job(key, pod.owner_uid) if pod else None
        return job is not None and uid is not None and job.name == job_name(key.name, uid) and job.owner_uid == uid
