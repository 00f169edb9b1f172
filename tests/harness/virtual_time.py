"""An event loop whose clock jumps: what sleeps an hour is awake at once, and nothing waits on the real clock.

For what waits on timers alone; where sockets are read, an answer could come "too late". A test asks for it by the
marker `virtual_time` (tests/operator/conftest.py).
"""

from __future__ import annotations

import asyncio
import selectors


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time is that of the next timer as soon as nothing else is to be done."""

    def __init__(self) -> None:
        self._moment = 0.0
        super().__init__(JumpingSelector(self))

    def time(self) -> float:
        return self._moment

    def jump(self, seconds: float) -> None:
        self._moment += seconds


class JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout else timeout)
        if not ready and timeout:
            self._loop.jump(timeout)
        return ready


def now() -> float:
    """The loop's time: the clock to give to what is tested."""
    return asyncio.get_running_loop().time()
