"""How many workers a batch should have, and when it will be done: arithmetic on what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

TIME_MARGIN = 0.1
"""Of the time from the beginning to `completeBy`, that is kept for a lost node and for the last shards, which do not
occupy all workers.
"""
SHORT = 0.2
"""Of the same time: what takes no longer is not slowed down."""
DEAD_BAND = 1.05
"""Workers are taken away only if the rest were enough for so much more: nobody ends for a moment's good pace."""
LONGEST_SECONDS = 366 * 86400.0


@dataclass(frozen=True)
class BatchPace:
    """What is left of a batch, and how fast it goes."""

    subjects_left: int
    useful_workers: int
    """For which there is a shard."""
    per_worker_second: float | None
    """None until it was measured."""


@dataclass(frozen=True)
class WorkerGoal:
    """How many workers may be there, and when they should be done."""

    fewest: int
    most: int
    complete_by: datetime | None = None
    began: datetime | None = None

    def seconds_left(self, now: datetime) -> float:
        """Until the moment that is aimed at; once that is near, half of what is left until `complete_by`."""
        assert self.complete_by is not None
        left = (self.complete_by - now).total_seconds()
        return max(left - TIME_MARGIN * self._whole(now), left / 2)

    def is_short(self, seconds: float, now: datetime) -> bool:
        """Whether so many seconds are too few to take workers away for."""
        return seconds < SHORT * self._whole(now)

    def _whole(self, now: datetime) -> float:
        assert self.complete_by is not None
        return (self.complete_by - (self.began or now)).total_seconds()


def workers_wanted(pace: BatchPace, present: int, goal: WorkerGoal, now: datetime) -> int:
    """As many as the goal asks for, where that can be said; no further ones than there are shards for."""
    useful = max(pace.useful_workers, present)
    if goal.complete_by is None:
        return min(goal.most, useful)
    if pace.per_worker_second is None:
        return min(max(present, goal.fewest, 1), goal.most, useful)
    seconds = goal.seconds_left(now)
    if seconds <= 0:
        return min(goal.most, useful)
    by_one = pace.subjects_left / pace.per_worker_second
    needed = max(1, math.ceil(by_one / seconds))
    if needed < present:
        is_short = goal.is_short(by_one / present, now)
        needed = present if is_short else min(present, math.ceil(DEAD_BAND * by_one / seconds))
    return min(max(needed, goal.fewest), goal.most, useful)


def eta(pace: BatchPace, workers: int, goal: WorkerGoal, now: datetime) -> datetime | None:
    """When the last subject will be done; None where that cannot be said.

    By the workers that there are, as far as they are behind. Where they are ahead of the moment that is aimed at, some
    may be taken away later, or not: half-way between the two.
    """
    if pace.per_worker_second is None or workers == 0:
        return None
    seconds = pace.subjects_left / (pace.per_worker_second * workers)
    if goal.complete_by is not None and goal.fewest < workers and not goal.is_short(seconds, now):
        with_fewest = seconds * workers / max(1, goal.fewest)
        slowest = min(goal.seconds_left(now), with_fewest)
        seconds = max(seconds, (seconds + slowest) / 2)
    return now + timedelta(seconds=min(seconds, LONGEST_SECONDS))
