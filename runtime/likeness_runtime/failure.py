"""The runtime's own exceptions, one per reaction.

    RunError                   the order cannot be fulfilled: its reason and sentence become the result, its exit code
                               the pod's
    └── StorageMissingError    no such object, folder or bucket: the caller decides which reason that is
    InterruptedRunError        someone wants this process to end; not an Exception, so that no library swallows it

Anything else that escapes is a bug: Python's traceback goes to the log and the process ends with 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from likeness_api.reason import EXIT_CODE_OF, Reason
from likeness_api.result import MESSAGE_CHARACTERS, Result

_Answer = TypeVar("_Answer")


class RunError(Exception):
    """The order ends here, with a reason that a user can act on."""

    def __init__(self, reason: Reason, message: str) -> None:
        assert reason in EXIT_CODE_OF, f"{reason} has no exit code"
        super().__init__(message)
        self.reason = reason
        self.message = message

    def as_result(self) -> Result:
        """The result of an order that ended so; a message that is too long for one is cut."""
        return Result(reason=self.reason, message=self.message[:MESSAGE_CHARACTERS])


class StorageMissingError(RunError):
    """There is no such object, folder or bucket."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SOURCE_NOT_FOUND, message)


class InterruptedRunError(BaseException):
    """SIGTERM or SIGINT came: what is not wholly published yet is not published."""


def attempt(step: Callable[[], _Answer]) -> _Answer | RunError:
    """What `step` returns or the `RunError` it raises: one subject's failure is an answer beside its neighbours'."""
    try:
        return step()
    except RunError as error:
        return error
