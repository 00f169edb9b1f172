"""The runtime's own exceptions, one per reaction.

    Failed          the order cannot be fulfilled: its reason and sentence become the result, its exit code the pod's
    └── Missing     no such object, folder or bucket: whoever asked says which reason that is
    Interrupted     someone wants this process to end; not an Exception, so that no library swallows it

Anything else that escapes is a bug: Python's traceback goes to the log and the process ends with 1.
"""

from __future__ import annotations

from likeness_api.reason import EXIT_CODE_OF, Reason


class Failed(Exception):  # noqa: N818 - reads as the sentence it is
    """The order ends here, with a reason that a user can act on."""

    def __init__(self, reason: Reason, message: str) -> None:
        assert reason in EXIT_CODE_OF, f"{reason} has no exit code"
        super().__init__(message)
        self.reason = reason
        self.message = message


class Missing(Failed):
    """What was asked for is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SOURCE_NOT_FOUND, message)


class Interrupted(BaseException):
    """SIGTERM or SIGINT came: nothing half may be published."""
