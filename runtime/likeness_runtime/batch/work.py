"""Works through a shard: groups of subjects in the same forward passes, each published and written down on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from likeness_api.field import timestamp
from likeness_api.order import Order
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import ResultLine, quarantine_line, result_line
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine
from likeness_runtime.failure import RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil_together
from likeness_runtime.order.prepare import LocatedModels

SAME_IN_A_ROW = 8
"""Subjects that fail alike by nothing of their own, until no further one is tried."""
NOT_THE_SUBJECTS = frozenset(
    {
        Reason.STORAGE_UNAVAILABLE,
        Reason.STORAGE_THROTTLED,
        Reason.OUTPUT_NOT_FOUND,
        Reason.ACCESS_DENIED,
        Reason.MODEL_NOT_FOUND,
        Reason.ENCODER_MISMATCH,
        Reason.OUT_OF_DEVICE_MEMORY,
    }
)
"""Storage, model, rights, device: what one subject meets there, the next one meets, too."""


@dataclass
class CircuitBreaker:
    """Ends a batch whose subjects fail by what is none of theirs, instead of failing all of them one by one."""

    reason: Reason | None = None
    count: int = 0

    def saw(self, result: Result) -> None:
        """Raises `RunError` where so many in a row failed alike. The last ones are not written down and tried again."""
        if result.reason not in NOT_THE_SUBJECTS:
            self.reason, self.count = None, 0
            return
        self.count = self.count + 1 if result.reason is self.reason else 1
        self.reason = result.reason
        if self.count >= SAME_IN_A_ROW:
            raise RunError(
                result.reason,
                f"{self.count} subjects in a row failed alike, the last one so: {result.message}; mend that and run the"
                " same again: what is published stays, and no more is tried before",
            )


@dataclass(frozen=True)
class GroupWork:
    """How groups of subjects are worked on."""

    order: Callable[[int, SubjectLine], Order | Quarantined]
    models: LocatedModels
    context: RunContext
    breaker: CircuitBreaker
    group_size: int
    """Subjects that share forward passes, as far as the profile's rowsPerPass lets them."""
    now: Callable[[], datetime]

    def through(self, planned: list[PlannedSubject]) -> Iterator[list[ResultLine]]:
        """The lines of each group, once it is published. Raises `RunError` by the breaker, and whatever `context.check`
        does: what was yielded until then is done.
        """
        for first in range(0, len(planned), self.group_size):
            self.context.check()
            yield self._group(planned[first : first + self.group_size])

    def _group(self, group: list[PlannedSubject]) -> list[ResultLine]:
        orders = [self.order(each.number, each.subject) for each in group]
        good = [each for each in orders if isinstance(each, Order)]
        results = iter(self._results(good))
        lines = []
        for each, order in zip(group, orders, strict=True):
            if isinstance(order, Quarantined):
                lines.append(quarantine_line(order))
                continue
            result = next(results)
            self.breaker.saw(result)
            lines.append(result_line(each.number, each.subject, result, each.fingerprint, timestamp(self.now())))
        return lines

    def _results(self, orders: list[Order]) -> list[Result]:
        if not orders:
            return []
        subjects = [order.subject for order in orders]
        return fulfil_together(orders[0].run, subjects, self.context, self.group_size, self.models)
