"""How many subjects a worker is through with in a second, measured over the last while."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 1200.0
SAMPLE_SECONDS = 5.0
LEAST_SUBJECTS = 8
"""Below which nothing is said: a model's load is a large part of the first minute."""


@dataclass
class Throughput:
    """Adds up what was done, and for how many seconds how many workers had something to do."""

    done: int = 0
    worker_seconds: float = 0.0
    _at: float | None = None
    _samples: deque[tuple[float, int, float]] = field(default_factory=deque)

    def advanced(self, subjects: int, busy_workers: int, now: float) -> None:
        """Takes note that so many more subjects are done, and that so many workers were busy since the last call."""
        if self._at is not None:
            self.worker_seconds += busy_workers * max(0.0, now - self._at)
        self._at = now
        self.done += subjects
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self.done, self.worker_seconds))
        while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW_SECONDS:
            self._samples.popleft()

    def per_worker_second(self) -> float | None:
        """Subjects that one worker does in a second; None until enough were done."""
        if not self._samples:
            return None
        _, done, seconds = self._samples[0]
        subjects, worked = self.done - done, self.worker_seconds - seconds
        return subjects / worked if subjects >= LEAST_SUBJECTS and worked > 0 else None
