"""How many workers a batch should have, and when it will be done: arithmetic on what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

AHEAD = 1.1
"""Workers are wanted as if this much more were left: a node may be lost, and the last shards do not occupy all."""
FEWER = 0.75
"""Of the workers that there are, fewer are enough only if even so few are: nobody ends for a moment's good pace."""
LONGEST_SECONDS = 366 * 86400.0


@dataclass(frozen=True)
class BatchPace:
    """What is left of a batch, and how fast it goes."""

    subjects_left: int
    shards_left: int
    per_worker_second: float | None
    """None until it was measured."""


def workers_wanted(
    pace: BatchPace, present: int, *, fewest: int, most: int, complete_by: datetime | None, now: datetime
) -> int:
    """Between `fewest` and `most`; as many as `complete_by` asks for, where that can be said, and never more than there
    are shards to work on.
    """
    useful = max(0, pace.shards_left)
    if complete_by is None:
        return min(most, useful)
    if pace.per_worker_second is None:
        return min(max(present, fewest, 1 if most else 0), most, useful)
    seconds = (complete_by - now).total_seconds()
    if seconds <= 0:
        return min(most, useful)
    needed = math.ceil(AHEAD * pace.subjects_left / (pace.per_worker_second * seconds))
    if FEWER * present < needed < present:
        needed = present
    return min(max(needed, fewest), most, useful)


def eta(pace: BatchPace, workers: int, now: datetime) -> datetime | None:
    """When the last subject will be done by so many workers; None where that cannot be said."""
    if pace.per_worker_second is None or workers == 0:
        return None
    seconds = pace.subjects_left / (pace.per_worker_second * workers)
    return now + timedelta(seconds=min(seconds, LONGEST_SECONDS))
