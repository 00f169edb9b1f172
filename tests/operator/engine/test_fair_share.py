from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likeness_operator.engine.fair_share import FairShare


def most(share: FairShare, namespace: str) -> int:
    """As many as the namespace gets, one by one."""
    count = 0
    while share.take(namespace):
        count += 1
    return count


def test_each_namespace_gets_half_of_what_is_left() -> None:
    share = FairShare(16)
    assert [most(share, namespace) for namespace in "abcd"] == [8, 4, 2, 1]


def test_a_single_worker_is_not_too_few_for_anybody() -> None:
    share = FairShare(1)
    assert share.take("a")
    share.give_back("a")
    assert share.take("b")


@given(st.integers(1, 100), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20), st.booleans()), max_size=50))
def test_no_more_is_taken_than_there_is_and_all_can_be_given_back(
    capacity: int, asked: list[tuple[str, int, bool]]
) -> None:
    share = FairShare(capacity)
    taken: list[tuple[str, int]] = []
    for namespace, amount, gives_back in asked:
        if gives_back and taken:
            share.give_back(*taken.pop())
        elif share.take(namespace, amount):
            taken.append((namespace, amount))
        assert sum(amount for _, amount in taken) <= capacity
    for each in taken:
        share.give_back(*each)
    assert share.take("d", capacity)
