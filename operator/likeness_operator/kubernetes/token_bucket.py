"""A limit on how fast we ask the API server, so that a burst of work never becomes a burst of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class TokenBucket:
    """Lets `rate` requests a second pass, and `burst` at once after a quiet time. Waiters go in turn.

    A worker waits for one token at a time, so who has no more than a share of the workers gets no more of the rate.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._counted_at = clock()

    def reserve(self) -> float:
        """Takes a token, if need be one of the future, and returns the seconds until it is there."""
        self._refilled()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _refilled(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
        return self._tokens

    def take_now(self) -> bool:
        """Takes a token if one is there; nobody waits, and nobody who comes later has to."""
        if self._refilled() < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self) -> None:
        seconds = self.reserve()
        if seconds > 0:
            await asyncio.sleep(seconds)
