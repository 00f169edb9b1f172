from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_operator.kubernetes.api_error import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    error_of,
)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", RefusedError),
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", RefusedError),
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (410, "Expired", ApiError),
        (422, "Invalid", RefusedError),
        (429, "TooManyRequests", UnavailableError),
        (500, "InternalError", UnavailableError),
        (503, "", UnavailableError),
    ],
)
def test_each_answer_asks_for_one_reaction(status: int, reason: str, kind: type[ApiError]) -> None:
    assert type(error_of(status, reason, "words", None)) is kind


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, 0.0), ("tomorrow", 0.0)])
def test_the_server_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    error = error_of(429, "TooManyRequests", "", header)
    assert isinstance(error, UnavailableError)
    assert error.retry_after_seconds == seconds


def test_a_full_quota_is_told_from_a_missing_right() -> None:
    full = error_of(403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: jobs, requested: 1', None)
    assert isinstance(full, RefusedError)
    assert full.over_quota
    right = error_of(403, "Forbidden", 'jobs.batch is forbidden: User "x" cannot create resource "jobs"', None)
    assert isinstance(right, RefusedError)
    assert not right.over_quota


FAULTS = [
    "spec.limits[i]: Invalid value: 'i': no name, and not qualified",
    "spec.limits[a]: Invalid value",
    "metadata.name: x",
]


@given(st.permutations(FAULTS))
def test_a_refusal_is_told_in_the_same_words_whatever_order_the_server_lists_them_in(faults: list[str]) -> None:
    error = RefusedError(422, "Invalid", f'Job.batch "a" is invalid: [{", ".join(faults)}]')
    assert error.user_message == f'Job.batch "a" is invalid: [{", ".join(sorted(FAULTS))}]'


@pytest.mark.parametrize(
    "message", ["", "exceeded quota: no-jobs", "is invalid: spec.x: [1]", "is invalid: [spec.x: cut of"]
)
def test_a_refusal_for_one_fault_is_told_as_it_is(message: str) -> None:
    assert RefusedError(422, "Invalid", message).user_message == message
