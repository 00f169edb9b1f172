from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likeness_operator.kubernetes.token_bucket import TokenBucket


@given(st.floats(0.5, 200), st.integers(1, 200), st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_no_more_than_burst_plus_rate_times_time_ever_pass(rate: float, burst: int, gaps: list[float]) -> None:
    now = 0.0
    bucket = TokenBucket(rate, burst, lambda: now)
    passed = []
    for gap in gaps:
        now += gap
        passed.append(now + bucket.reserve())
    for count, moment in enumerate(sorted(passed), start=1):
        assert count <= burst + rate * moment + 1e-6 * count


def test_a_burst_passes_at_once_and_the_next_one_waits() -> None:
    bucket = TokenBucket(rate=2, burst=3, clock=lambda: 0.0)
    assert [bucket.reserve() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
