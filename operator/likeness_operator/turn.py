"""Whose turn it is where a TuningProfile says how many may run at once in a namespace: the oldest one's.

Kept in memory, fed by the watch of Jobs. Nothing is lost when it is: who waits asks again, and before a Job is made the
API server's list of Jobs has the last word (`confirm`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from likeness_operator.observed import Job
from likeness_operator.work_queue import Key


@dataclass(frozen=True)
class Group:
    """Those that share a limit."""

    namespace: str
    profile: str


@dataclass(frozen=True)
class Wish:
    """To start now."""

    key: Key
    created: datetime
    group: Group
    limit: int


Place = tuple[datetime, Key]
"""By age; of the same second, by name."""


class Turns:
    """`wake` has a Personalization looked at that may have its turn now. For one event loop."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._active: dict[Group, dict[str, int]] = defaultdict(dict)
        """The uids of Jobs that run or are about to, and when each was heard of."""
        self._moment = 0
        self._waiting: dict[Group, list[Place]] = defaultdict(list)
        self._places: dict[Key, tuple[Group, Place]] = {}
        """Of those that wait."""
        self._claimed: dict[Key, Group] = {}
        """It is their turn in a pass that goes on."""
        self._asked: set[Key] = set()
        """In a pass that goes on."""

    def take(self, wish: Wish) -> bool:
        """Whether it is its turn, which then is its own until `passed`; else it waits from now on."""
        key, group, place = wish.key, wish.group, (wish.created, wish.key)
        self._asked.add(key)
        if self._places.get(key, (group, place)) != (group, place):
            self.leave(key)  # of another profile, or a namesake that is gone
        claimed = sum(1 for other, its in self._claimed.items() if its == group and other != key)
        ahead = bisect_left(self._waiting[group], place)
        if len(self._active[group]) + claimed + ahead < wish.limit:
            self._claimed[key] = group
            self.leave(key)
            return True
        self._claimed.pop(key, None)
        if key not in self._places:
            self._places[key] = (group, place)
            insort(self._waiting[group], place)
        return False

    def confirm(self, wish: Wish, jobs: Iterable[Job], listed_at: int) -> bool:
        """`take`, after the API server has listed the group's Jobs: what no watch has told counts, ghosts do not."""
        listed = {job.uid for job in jobs if takes_a_turn(job)}
        active = self._active[wish.group]
        for uid in [uid for uid, heard_at in active.items() if heard_at < listed_at and uid not in listed]:
            del active[uid]
        return self.take(replace(wish, limit=wish.limit - len(listed - active.keys())))

    def passed(self, key: Key) -> None:
        """A pass over `key` is over. If it did not ask, it does not wait any longer: it was suspended, for example."""
        self._claimed.pop(key, None)
        if key in self._asked:
            self._asked.discard(key)
        else:
            self.leave(key)

    def leave(self, key: Key) -> None:
        """It waits no longer, so the next one may have its turn."""
        group, place = self._places.pop(key, (None, None))
        if group is not None and place is not None:
            waiting = self._waiting[group]
            del waiting[bisect_left(waiting, place)]
            self._next(group)

    def saw(self, namespace: str, job: Job, *, gone: bool = False) -> None:
        """What the watch, or the answer to its creation, says of a Job that tunes."""
        group = Group(namespace, job.profile)
        active = self._active[group]
        if takes_a_turn(job) and not gone:
            active[job.uid] = self.moment()
        elif job.uid in active:
            del active[job.uid]
            self._next(group)

    def moment(self) -> int:
        """A number that is later than all before it; taken before Jobs are listed, to tell what came after that."""
        self._moment += 1
        return self._moment

    def _next(self, group: Group) -> None:
        """Whoever gets its turn by this wakes the one after it."""
        if self._waiting[group]:
            self._wake(self._waiting[group][0][1])


def takes_a_turn(job: Job) -> bool:
    """A Job that its user suspended does not; one that waits in a queue of Kueue's does."""
    return not job.ended and (job.queued or not job.suspended)
