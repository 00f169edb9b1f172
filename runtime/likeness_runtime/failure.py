"""The runtime's own exceptions, one per reaction.

    RunError                   the order cannot be fulfilled: its reason and sentence become the result, its exit code
                               the pod's
    └── StorageMissingError    no such object, folder or bucket: whoever asked says which reason that is
    InterruptedRunError        someone wants this process to end; not an Exception, so that no library swallows it

Anything else that escapes is a bug: Python's traceback goes to the log and the process ends with 1.
"""

from __future__ import annotations

from likeness_api.reason import EXIT_CODE_OF, Reason


class RunError(Exception):
    """The order ends here, with a reason that a user can act on."""

    def __init__(self, reason: Reason, message: str) -> None:
        assert reason in EXIT_CODE_OF, f"{reason} has no exit code"
        super().__init__(message)
        self.reason = reason
        self.message = message


class StorageMissingError(RunError):
    """What was asked for is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SOURCE_NOT_FOUND, message)


class InterruptedRunError(BaseException):
    """SIGTERM or SIGINT came: nothing half may be published."""
