"""How far a tune is, from what its pod reports, and when that is worth a write to the API server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from likeness_api.personalization import Progress
from likeness_api.progress_report import REPORT_SECONDS

TOO_SOON_SECONDS = REPORT_SECONDS / 2
"""A pod keeps to REPORT_SECONDS; the network may bring two of its reports closer together."""
TOLD_SECONDS = 30.0
"""Between two writes of progress, and before the first: a tune that is over sooner costs none."""
TOLD_PERCENT = 5
"""So much further at least: even a tune of days costs twenty writes."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One pod's progress. Times are seconds of a clock that never jumps."""

    pod_uid: str
    began_at: float
    began_step: int
    heard_at: float
    told_at: float
    told: Progress | None = None
    """What the status should say; the pod may be further."""


def tracked(before: Tracked | None, pod_uid: str, step: int, total_steps: int, now: float) -> Tracked:
    """`before` and one more report. A pod that was not heard of before starts anew."""
    if before is None or before.pod_uid != pod_uid:
        return Tracked(pod_uid, began_at=now, began_step=step, heard_at=now, told_at=now)
    heard = replace(before, heard_at=now)
    percent = 100 * step // total_steps
    told_percent = before.told.percent if before.told else 0
    if now - before.told_at < TOLD_SECONDS or percent < told_percent + TOLD_PERCENT:
        return heard
    done, seconds = step - before.began_step, now - before.began_at
    eta = round((total_steps - step) * seconds / done) if done > 0 else None
    told = Progress(step=step, total_steps=total_steps, percent=percent, eta_seconds=eta)
    return replace(heard, told=told, told_at=now)


def too_soon(before: Tracked | None, pod_uid: str, now: float) -> bool:
    return before is not None and before.pod_uid == pod_uid and now - before.heard_at < TOO_SOON_SECONDS
