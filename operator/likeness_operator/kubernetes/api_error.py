"""What can go wrong between us and the API server: one class for each way of reacting to it.

ApiError                 anything else: logged, tried again with back-off
├── NotFoundError        it is gone: carry on without it
├── AlreadyExistsError   somebody (we, before a crash) created it: decide anew
├── ConflictError        it changed since it was read: decide anew
├── RefusedError         not allowed, over quota or invalid, with the server's words: tell the user
├── UnauthorizedError    the token is too old: log in again
└── UnavailableError     no answer, a fault of the server, or "slow down": wait, at least `retry_after_seconds`
"""

from __future__ import annotations

import re


class ApiError(Exception):
    """An answer of the API server that is none of those below, or the base of all of them."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFoundError(ApiError):
    """The object is not there."""


class AlreadyExistsError(ApiError):
    """An object of that name is there already."""


class ConflictError(ApiError):
    """The object has changed since it was read."""


class RefusedError(ApiError):
    """The request is not allowed, over quota or invalid."""

    @property
    def over_quota(self) -> bool:
        """The ResourceQuota admission plugin answers 403 with these words and no reason of its own."""
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def namespace_terminating(self) -> bool:
        """Nothing can be created in a namespace that is being deleted."""
        return self.status == 403 and "because it is being terminated" in self.message

    @property
    def user_message(self) -> str:
        """The message for users, its list of faults sorted: the server's order is another one each time."""
        head, opening, faults = self.message.partition(": [")
        if not opening or not faults.endswith("]"):
            return self.message
        return f"{head}: [{', '.join(sorted(re.split(r', (?=(?:spec|metadata)[.:])', faults[:-1])))}]"


class UnauthorizedError(ApiError):
    """The token is not valid any more."""


class UnavailableError(ApiError):
    """No answer, a fault of the server, or a request to slow down."""

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(status, reason, message)
        self.retry_after_seconds = retry_after_seconds


def error_of(status: int, reason: str, message: str, retry_after: str | None) -> ApiError:
    """The error for an HTTP answer of 400 or more. `retry_after` is the header, in whole seconds."""
    if status == 401:
        return UnauthorizedError(status, reason, message)
    if status == 404:
        return NotFoundError(status, reason, message)
    if status == 409:
        # Besides a plain conflict, 409 is what a precondition on the uid answers when the object is another one.
        return (
            AlreadyExistsError(status, reason, message)
            if reason == "AlreadyExists"
            else ConflictError(status, reason, message)
        )
    if status in (400, 403, 422):
        return RefusedError(status, reason, message)
    if status == 429 or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
        return UnavailableError(status, reason, message, seconds)
    return ApiError(status, reason, message)
