"""Stopping in time: a signal interrupts whatever runs, and is remembered where Python loses the exception."""

from __future__ import annotations

import signal
import time
from types import FrameType

from likeness_runtime.failure import InterruptedRunError


class Stop:
    """One process's wish to end. `check` is called between steps, `sleep` where something is waited for."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT raise `InterruptedRunError` in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def ignore(self) -> None:
        """From now on signals change nothing: the result is published and only has to be written."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def check(self) -> None:
        """Raises `InterruptedRunError` once a signal came, also where the first raise got lost in a C callback."""
        if self.requested:
            raise InterruptedRunError

    def sleep(self, seconds: float) -> None:
        self.check()
        time.sleep(seconds)
        self.check()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        raise InterruptedRunError
