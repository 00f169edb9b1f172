from __future__ import annotations

from likeness_api.personalization import Failure
from likeness_operator.personalization.report import failure_event


def test_the_event_of_a_failure_is_a_warning_with_the_failures_words() -> None:
    event = failure_event(Failure(reason="AccessDenied", message="no"))
    assert (event.type, event.reason, event.note) == ("Warning", "AccessDenied", "no")
