from __future__ import annotations

import pytest

from likeness_operator.api_error import (
    AlreadyExists,
    ApiError,
    Conflict,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    error_of,
)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", Refused),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Refused),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", ApiError),
        (422, "Invalid", Refused),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "", Unavailable),
    ],
)
def test_each_answer_asks_for_one_reaction(status: int, reason: str, kind: type[ApiError]) -> None:
    assert type(error_of(status, reason, "words", None)) is kind


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, 0.0), ("tomorrow", 0.0)])
def test_the_server_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    error = error_of(429, "TooManyRequests", "", header)
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == seconds


def test_a_full_quota_is_told_from_a_missing_right() -> None:
    full = error_of(403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: jobs, requested: 1', None)
    assert isinstance(full, Refused)
    assert full.over_quota
    right = error_of(403, "Forbidden", 'jobs.batch is forbidden: User "x" cannot create resource "jobs"', None)
    assert isinstance(right, Refused)
    assert not right.over_quota
