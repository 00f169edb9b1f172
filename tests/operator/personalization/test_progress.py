from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likeness_operator.personalization.progress import WRITE_SECONDS, TrackedProgress, is_too_soon, track


def written_steps(total_steps: int, seconds_a_step: float) -> list[int]:
    """The steps that are written while a pod reports each step."""
    tracked, written = track(None, "pod", 0, total_steps, 0.0), []
    for step in range(1, total_steps + 1):
        before = tracked
        tracked = track(before, "pod", step, total_steps, step * seconds_a_step)
        if tracked.to_write and tracked.to_write != before.to_write:
            written.append(tracked.to_write.step)
    return written


def test_a_short_tune_costs_no_write() -> None:
    assert written_steps(12, seconds_a_step=2.0) == []


def test_a_tune_of_minutes_is_told_every_half_minute() -> None:
    assert written_steps(100, seconds_a_step=2.0) == [15, 30, 45, 60, 75, 90]


@given(st.integers(1, 2000), st.floats(0.01, 3600))
def test_no_tune_costs_more_than_twenty_writes(total_steps: int, seconds_a_step: float) -> None:
    assert len(written_steps(total_steps, seconds_a_step)) <= 20


def test_the_time_left_follows_from_this_pods_own_speed() -> None:
    first = track(None, "pod", 100, 1000, 50.0)  # heard of late: the operator was started anew
    told = track(first, "pod", 200, 1000, 150.0).to_write
    assert told is not None
    assert (told.step, told.total_steps, told.percent, told.eta_seconds) == (200, 1000, 20, 800)


def test_another_pod_starts_anew() -> None:
    before = track(track(None, "pod", 0, 10, 0.0), "pod", 5, 10, WRITE_SECONDS)
    assert before.to_write is not None
    assert track(before, "next", 0, 10, WRITE_SECONDS + 1).to_write is None


def test_a_pod_that_goes_back_is_not_told() -> None:
    before = track(track(None, "pod", 0, 10, 0.0), "pod", 9, 10, WRITE_SECONDS)
    assert track(before, "pod", 1, 10, 10 * WRITE_SECONDS).to_write == before.to_write


def test_only_the_same_pod_can_be_is_too_soon() -> None:
    before = TrackedProgress("pod", began_at=0.0, began_step=0, reported_at=10.0, written_at=0.0)
    assert is_too_soon(before, "pod", 10.5)
    assert not is_too_soon(before, "pod", 11.5)
    assert not is_too_soon(before, "next", 10.5)
    assert not is_too_soon(None, "pod", 10.5)
