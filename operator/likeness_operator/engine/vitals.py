"""Is the operator well? What the kubelet's probes are answered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue

LONGEST_WAIT_SECONDS = 60.0
"""A namespace that has objects waiting and gets no worker for longer makes the operator unready: it does not keep up.
That one namespace has more than can be done soon does not: nobody else feels it."""
LONGEST_STALL_SECONDS = 180.0
"""No reconciliation ends while some wait, or the watch does not report our own writes: only a restart helps. A call
takes 30 s at most."""
LONGEST_SILENCE_SECONDS = 30.0
"""A standby that could not read the Lease for so long would not notice that it is needed."""


@dataclass
class Vitals:
    """What the probes' answers follow from. `clock` counts seconds, and never jumps."""

    queue: WorkQueue
    cache: WatchCache
    clock: Callable[[], float]
    watching: Callable[[], bool]
    """Whether every kind has been listed and is watched."""
    lease_read_at: float | None = None
    """When a standby last saw the Lease in somebody else's hands."""
    reconciled_at: float = field(default=0.0)

    def standing_by(self) -> None:
        """Takes note that another operator holds the Lease."""
        self.lease_read_at = self.clock()

    def reconciled(self) -> None:
        """Takes note that a reconciliation ended."""
        self.reconciled_at = self.clock()

    def why_not_alive(self) -> str | None:
        """The sentence for a failed liveness probe, about what only a restart can cure; None where all is well."""
        idle = min(self.clock() - self.reconciled_at, self.queue.oldest_wait_seconds())
        if idle > LONGEST_STALL_SECONDS:
            return f"no reconciliation has ended for {idle:.0f} s while {len(self.queue)} wait"
        lag = self.cache.watch_lag_seconds()
        if lag > LONGEST_STALL_SECONDS:
            return f"the watch has not reported a write of {lag:.0f} s ago"
        return None

    def why_not_ready(self) -> str | None:
        """The sentence for a failed readiness probe; None where all is well."""
        if not self.watching():
            standby = self.lease_read_at is not None and self.clock() - self.lease_read_at < LONGEST_SILENCE_SECONDS
            return None if standby else "not yet watching, and no other operator's Lease was seen"
        waited = self.queue.longest_turn_seconds()
        if waited > LONGEST_WAIT_SECONDS:
            return f"{len(self.queue)} objects wait, and of one namespace none was reconciled for {waited:.0f} s"
        return self.why_not_alive()
