from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from likeness_api.crd import STATE
from likeness_api.field import Condition
from likeness_operator.kubernetes.condition import ORDER, truncate, with_condition

EARLIER, LATER = "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


def a_condition(kind: str, status: Literal["True", "False"], at: str = EARLIER, message: str = "") -> Condition:
    return Condition(type=kind, status=status, reason="Because", message=message, last_transition_time=at)


def test_the_transition_time_changes_with_the_status_only() -> None:
    before = [a_condition("Running", "True")]
    (same,) = with_condition(before, a_condition("Running", "True", LATER, "in another pod"))
    assert (same.last_transition_time, same.message) == (EARLIER, "in another pod")
    (other,) = with_condition(before, a_condition("Running", "False", LATER))
    assert other.last_transition_time == LATER


@given(st.permutations(ORDER))
def test_the_order_is_that_of_the_state_column_whatever_came_first(kinds: list[str]) -> None:
    conditions: list[Condition] = []
    for kind in kinds:
        conditions = with_condition(conditions, a_condition(kind, "True"))
    assert [condition.type for condition in conditions] == list(ORDER)
    assert "conditions" in STATE["jsonPath"]


def test_a_condition_of_a_later_operator_is_kept_behind_our_own() -> None:
    before = [a_condition("Finished", "False"), a_condition("Accepted", "True")]
    after = with_condition(before, a_condition("Running", "True"))
    assert [condition.type for condition in after] == ["Running", "Accepted", "Finished"]


@given(st.text(max_size=5000))
def test_no_text_is_longer_than_the_crd_allows(text: str) -> None:
    assert len(truncate(text)) <= 2048
    assert truncate(text)[:2000] == text[:2000]
