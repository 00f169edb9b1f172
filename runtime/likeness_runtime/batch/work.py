"""Works through a shard: groups of subjects in the same forward passes, each published and written down on its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from likeness_api.field import timestamp
from likeness_api.order import Order
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine, quarantine_line, result_line
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine
from likeness_runtime.failure import RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil_together
from likeness_runtime.order.prepare import LocatedModels

SUBJECTS_A_PASS = 4
"""Subjects that share forward passes, as far as the profile's rowsPerPass lets them."""
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
    row: set[int] = field(default_factory=set)
    """Line numbers of those that failed so since one did not."""

    def saw(self, number: int, result: Result) -> None:
        """Raises `RunError` where so many in a row failed alike. The last ones are not written down and tried again."""
        if result.reason not in NOT_THE_SUBJECTS:
            self.reason, self.row = None, set()
            return
        if result.reason is not self.reason:
            self.reason, self.row = result.reason, set()
        self.row.add(number)
        if len(self.row) >= SAME_IN_A_ROW:
            raise RunError(
                result.reason,
                f"{len(self.row)} subjects in a row failed alike, the last one so: {result.message}; mend that and run"
                " the same again: what is published stays, and no more is tried before",
            )


@dataclass(frozen=True)
class GroupWork:
    """How groups of subjects are worked on."""

    order: Callable[[int, SubjectLine], Order | Quarantined]
    breaker: CircuitBreaker
    fulfil: Callable[[Iterable[list[Order]]], Iterable[list[Result]]]
    """The results of each group of orders, in their order; it may take up further groups before it answers."""
    now: Callable[[], datetime]

    def through(self, groups: Iterable[list[PlannedSubject]]) -> Iterator[list[ResultLine]]:
        """The lines of each group, once it is published. Raises `RunError` by the breaker, and whatever `fulfil` does:
        what was yielded until then is done.
        """
        taken: deque[tuple[list[PlannedSubject], list[Order | Quarantined]]] = deque()

        def ordered() -> Iterator[list[Order]]:
            for group in groups:
                orders = [self.order(each.number, each.subject) for each in group]
                taken.append((group, orders))
                yield [each for each in orders if isinstance(each, Order)]

        for results in self.fulfil(ordered()):
            yield self._lines(*taken.popleft(), results)

    def _lines(
        self, group: list[PlannedSubject], orders: list[Order | Quarantined], results: list[Result]
    ) -> list[ResultLine]:
        lines, left = [], iter(results)
        for each, order in zip(group, orders, strict=True):
            if isinstance(order, Quarantined):
                lines.append(quarantine_line(order))
                continue
            result = next(left)
            self.breaker.saw(each.number, result)
            lines.append(result_line(each.number, each.subject, result, each.fingerprint, timestamp(self.now())))
        return lines


def in_groups(planned: list[PlannedSubject], size: int) -> list[list[PlannedSubject]]:
    return [planned[first : first + size] for first in range(0, len(planned), size)]


def may_pass(line: ResultLine) -> bool:
    """Whether a failure was none of the subject's own, so that it is worth another try."""
    return line.outcome is Outcome.FAILED and line.reason in NOT_THE_SUBJECTS


def one_after_the_other(
    groups: Iterable[list[Order]], context: RunContext, models: LocatedModels
) -> Iterator[list[Result]]:
    """Each group is taken up when the one before is published. Raises whatever `context.check` does."""
    for orders in groups:
        context.check()
        subjects = [order.subject for order in orders]
        yield fulfil_together(orders[0].run, subjects, context, SUBJECTS_A_PASS, models) if orders else []
