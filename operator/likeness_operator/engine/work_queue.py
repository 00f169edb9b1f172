"""A queue of keys to reconcile: each is in it once, has one worker at a time, and backs off when it fails."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from time import monotonic

from likeness_operator.engine.key import Key

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 300.0


class WorkQueue:
    """For one event loop. `jitter` returns a factor near 1 that keeps many failing keys from coming back together."""

    def __init__(
        self,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._jitter = jitter
        self._clock = clock
        self._new: deque[Key] = deque()
        """Taken before `_ready`: in a burst nobody should wait for a Job until all others' pods were reconciled."""
        self._ready: deque[Key] = deque()
        self._since: dict[Key, float] = {}
        """When each one of these was put there."""
        self._waiting: set[Key] = set()
        """In one of these, or to be put there when its worker is done."""
        self._busy: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, *, new: bool = False) -> None:
        """Queues `key`, before all others if it is `new`; changes nothing where it already waits."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._busy:
            self._put(key, self._new if new else self._ready)

    def oldest_wait_seconds(self) -> float:
        """How long the key that waits longest for a worker has waited."""
        oldest = [self._since[line[0]] for line in (self._new, self._ready) if line]
        return self._clock() - min(oldest) if oldest else 0.0

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
        while not (self._new or self._ready):
            self._changed.clear()
            await self._changed.wait()
        key = (self._new or self._ready).popleft()
        del self._since[key]
        self._waiting.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: Key) -> None:
        """Ends the work on `key`, which then may be queued again."""
        self._busy.discard(key)
        if key in self._waiting:
            self._put(key, self._ready)

    def _put(self, key: Key, line: deque[Key]) -> None:
        line.append(key)
        self._since[key] = self._clock()
        self._changed.set()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
