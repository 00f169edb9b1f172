"""A queue of keys to reconcile: each is in it once, has one worker at a time, and backs off when it fails.

Namespaces take turns, and none has more workers than it leaves to all others: ten thousand objects of one delay the
first one of another by no more than what is being reconciled at that moment.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from likeness_operator.engine.fair_share import FairShare
from likeness_operator.engine.key import Key

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 300.0
WORKERS = 16
"""How many keys are worked on at once, where nobody says otherwise."""


@dataclass(slots=True)
class _Line:
    """The keys of one namespace that wait for a worker."""

    served_at: float
    """When the namespace last got a worker; before that, when its first key came."""
    new: deque[Key] = field(default_factory=deque)
    """Taken before `ready`: in a burst nobody should wait for a Job until all others' pods were reconciled."""
    ready: deque[Key] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.new) + len(self.ready)


class WorkQueue:
    """For one event loop. `jitter` returns a factor near 1 that keeps many failing keys from coming back together.

    `workers` is how many of them there are: each is between `get` and `done`, or waits for `get`.
    """

    def __init__(
        self,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311
        clock: Callable[[], float] = monotonic,
        workers: int = WORKERS,
    ) -> None:
        self._jitter = jitter
        self._clock = clock
        self._workers = FairShare(workers)
        self._lines: dict[str, _Line] = {}
        """By namespace, whose turn it is first."""
        self._since: dict[Key, float] = {}
        """When each key was put into its line."""
        self._waiting: set[Key] = set()
        """In one of these, or to be put there when its worker is done."""
        self._busy: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def length(self, namespace: str) -> int:
        """How many keys of a namespace wait for a worker."""
        line = self._lines.get(namespace)
        return len(line) if line else 0

    def add(self, key: Key, *, new: bool = False) -> None:
        """Queues `key`, before all others of its namespace if it is `new`; changes nothing where it already waits."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._busy:
            self._put(key, new=new)

    def oldest_wait_seconds(self) -> float:
        """How long the key that waits longest for a worker has waited."""
        oldest = [self._since[keys[0]] for line in self._lines.values() for keys in (line.new, line.ready) if keys]
        return self._clock() - min(oldest) if oldest else 0.0

    def longest_turn_seconds(self) -> float:
        """How long the namespace whose turn has not come for longest has waited: it has keys here, and got no worker.

        Unlike the wait of a single key it does not grow because one namespace has very many.
        """
        return self._clock() - min((line.served_at for line in self._lines.values()), default=self._clock())

    def add_after(self, key: Key, seconds: float) -> None:
        """Queues `key` once the time is over. Of several times the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def add_rate_limited(self, key: Key, at_least: float = 0.0, at_most: float = LONGEST_BACKOFF_SECONDS) -> float:
        """Queues `key` after a back-off that doubles with each failure in a row; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff = min(at_most, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 20)) * self._jitter()
        seconds = max(at_least, backoff)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """Forgets the failures of `key`: the next back-off is short again."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key; the caller says `done` when finished with it."""
        while (key := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        return key

    def done(self, key: Key) -> None:
        """Ends the work on `key`, which then may be queued again."""
        self._busy.discard(key)
        self._workers.give_back(key.namespace)
        if key in self._waiting:
            self._put(key)
        elif self._lines:
            self._changed.set()  # the namespace may have another worker now

    def _next(self) -> Key | None:
        """The first key of the first namespace that may have one more worker; the namespace then goes to the end."""
        namespace = next((namespace for namespace in self._lines if self._workers.take(namespace)), None)
        if namespace is None:
            return None
        line = self._lines.pop(namespace)
        key = (line.new or line.ready).popleft()
        if line:
            line.served_at = self._clock()
            self._lines[namespace] = line
        del self._since[key]
        self._waiting.discard(key)
        self._busy.add(key)
        return key

    def _put(self, key: Key, *, new: bool = False) -> None:
        now = self._clock()
        line = self._lines.setdefault(key.namespace, _Line(now))
        (line.new if new else line.ready).append(key)
        self._since[key] = now
        self._changed.set()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
