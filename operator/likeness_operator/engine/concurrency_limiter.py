"""Which Job may start where a TuningProfile says how many run at once in a namespace: the oldest object's.

Kept in memory, fed by the watch of Jobs. Nothing is lost when it is: who waits asks again, and before a Job is made the
API server's list of Jobs has the last word (`confirm`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_operator.engine.fair_share import FairShare
from likeness_operator.engine.key import Key
from likeness_operator.kubernetes.job import Job

MOST_COUNTED = 20_000
"""Jobs that are counted, by fair shares. Anybody may make Jobs with our labels; one that is not counted is still in the
API server's list."""


@dataclass(frozen=True)
class LimitGroup:
    """The namespace and the TuningProfile whose Jobs share a limit."""

    namespace: str
    profile: str


@dataclass(frozen=True)
class SlotRequest:
    """An object's request to have a Job run now: in which group, and under which limit of slots."""

    key: Key
    created: datetime
    group: LimitGroup
    limit: int


Position = tuple[datetime, Key]
"""In the order of creation; within the same second, in that of names."""


class ConcurrencyLimiter:
    """Counts slots, not Jobs: an object that is about to start occupies one before its Job is there.

    `wake` has an object reconciled that may get a slot now. For one event loop.
    """

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._occupied: dict[LimitGroup, dict[str, int]] = {}
        """The uids of Jobs that run or are about to, and the tick at which each was last observed."""
        self._counted = FairShare(MOST_COUNTED)
        self._tick = 0
        self._waiting: dict[LimitGroup, list[Position]] = {}
        self._positions: dict[Key, tuple[LimitGroup, Position]] = {}
        """Those of the objects in `_waiting`."""
        self._acquired: dict[Key, LimitGroup] = {}
        """Slots of objects that are being reconciled; their Jobs are not there yet."""
        self._requested: set[Key] = set()
        """Objects that are being reconciled and have requested a slot."""

    def acquire(self, request: SlotRequest) -> bool:
        """Whether the object gets a slot, which then is its own until `release`; else it waits from now on."""
        key, group, position = request.key, request.group, (request.created, request.key)
        self._requested.add(key)
        if self._positions.get(key, (group, position)) != (group, position):
            self.cancel(key)  # of another profile, or a namesake that is gone
        acquired = sum(1 for other, its in self._acquired.items() if its == group and other != key)
        ahead = bisect_left(self._waiting.get(group, []), position)
        if len(self._occupied.get(group, ())) + acquired + ahead < request.limit:
            self._acquired[key] = group
            self.cancel(key)
            return True
        self._acquired.pop(key, None)
        if key not in self._positions:
            self._positions[key] = (group, position)
            insort(self._waiting.setdefault(group, []), position)
        return False

    def confirm(self, request: SlotRequest, jobs: Iterable[Job], listed_at: int = 0) -> bool:
        """Acquires a slot by the API server's list of the group's Jobs, requested after the tick `listed_at`.

        Jobs that no watch has reported yet count; Jobs that the watch failed to report as gone do not, unless the list
        was not read to its end and `listed_at` is 0.
        """
        listed = {job.uid for job in jobs if occupies_slot(job)}
        occupied = self._occupied.get(request.group, {})
        for uid in [uid for uid, tick in occupied.items() if tick < listed_at and uid not in listed]:
            self._vacate(request.group, uid)
        return self.acquire(replace(request, limit=request.limit - len(listed - occupied.keys())))

    def release(self, key: Key) -> None:
        """Ends a reconciliation of `key`: its slot is its Job's from now on, or the next one's.

        An object that requested no slot meanwhile waits no longer: it was suspended, for example.
        """
        group = self._acquired.pop(key, None)
        if group is not None:
            self._wake_next(group)  # it may not have started: the API server may have refused its Job
        if key in self._requested:
            self._requested.discard(key)
        else:
            self.cancel(key)

    def cancel(self, key: Key) -> None:
        """Takes the object out of those that wait, so that the next one may get a slot."""
        group, position = self._positions.pop(key, (None, None))
        if group is not None and position is not None:
            waiting = self._waiting[group]
            del waiting[bisect_left(waiting, position)]
            if not waiting:
                del self._waiting[group]
            self._wake_next(group)

    def observe_job(self, namespace: str, job: Job, *, gone: bool = False) -> None:
        """Takes note of a Job that tunes, as the watch or the answer to its creation has it."""
        group = LimitGroup(namespace, job.profile)
        occupied = self._occupied.get(group, {})
        if occupies_slot(job) and not gone:
            if job.uid in occupied or self._counted.take(namespace):
                self._occupied.setdefault(group, {})[job.uid] = self.tick()
        elif job.uid in occupied:
            self._vacate(group, job.uid)
            self._wake_next(group)

    def tick(self) -> int:
        """A number that is greater than all before it; taken before Jobs are listed, to tell what came after that."""
        self._tick += 1
        return self._tick

    def _vacate(self, group: LimitGroup, uid: str) -> None:
        self._counted.give_back(group.namespace)
        del self._occupied[group][uid]
        if not self._occupied[group]:
            del self._occupied[group]

    def _wake_next(self, group: LimitGroup) -> None:
        """The object that gets a slot by this wakes the one after it."""
        if group in self._waiting:
            self._wake(self._waiting[group][0][1])


def occupies_slot(job: Job) -> bool:
    """Whether a Job counts against the limit: not where its user suspended it, but while it waits for Kueue."""
    return not job.finished and (job.queued or not job.suspended)
