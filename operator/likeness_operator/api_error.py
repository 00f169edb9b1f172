"""What can go wrong between us and the API server: one class for each way of reacting to it.

ApiError            anything else: logged, tried again with back-off
├── NotFound        it is gone: carry on without it
├── AlreadyExists   somebody (we, before a crash) created it: decide anew
├── Conflict        it changed since it was read: decide anew
├── Refused         not allowed, over quota or invalid, with the server's words: tell the user
├── Unauthorized    the token is too old: log in again
└── Unavailable     no answer, a fault of the server, or "slow down": wait, at least `retry_after_seconds`
"""

from __future__ import annotations

import re


class ApiError(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):  # noqa: N818 - named as Kubernetes names it
    pass


class AlreadyExists(ApiError):  # noqa: N818
    pass


class Conflict(ApiError):  # noqa: N818
    pass


class Refused(ApiError):  # noqa: N818
    @property
    def over_quota(self) -> bool:
        """The ResourceQuota admission plugin answers 403 with these words and no reason of its own."""
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def told(self) -> str:
        """The message, its list of faults sorted: the server's order is that of a Go map, another one each time."""
        head, opening, faults = self.message.partition(": [")
        if not opening or not faults.endswith("]"):
            return self.message
        return f"{head}: [{', '.join(sorted(re.split(r', (?=(?:spec|metadata)[.:])', faults[:-1])))}]"

    @property
    def namespace_terminating(self) -> bool:
        """Nothing can be created in a namespace that is being deleted."""
        return self.status == 403 and "because it is being terminated" in self.message


class Unauthorized(ApiError):  # noqa: N818
    pass


class Unavailable(ApiError):  # noqa: N818
    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(status, reason, message)
        self.retry_after_seconds = retry_after_seconds


def error_of(status: int, reason: str, message: str, retry_after: str | None) -> ApiError:
    """The error for an HTTP answer of 400 or more. `retry_after` is the header, in whole seconds."""
    if status == 401:
        return Unauthorized(status, reason, message)
    if status == 404:
        return NotFound(status, reason, message)
    if status == 409:
        # Besides a plain conflict, 409 is what a precondition on the uid answers when the object is another one.
        return (
            AlreadyExists(status, reason, message) if reason == "AlreadyExists" else Conflict(status, reason, message)
        )
    if status in (400, 403, 422):
        return Refused(status, reason, message)
    if status == 429 or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
        return Unavailable(status, reason, message, seconds)
    return ApiError(status, reason, message)
