"""How many subjects a worker is through with in a second."""

from __future__ import annotations

import pytest

from likeness_operator.batch.throughput import LEAST_SUBJECTS, WINDOW_SECONDS, Throughput


def after(*told: tuple[float, int, int], throughput: Throughput | None = None) -> Throughput:
    """Each as (when, subjects that are done since, busy workers)."""
    throughput = throughput or Throughput()
    for now, subjects, busy in told:
        throughput.advanced(subjects, busy, now)
    return throughput


def test_nothing_was_measured_before_enough_was_done() -> None:
    assert Throughput().per_worker_second() is None
    assert after((0, 0, 2)).per_worker_second() is None
    assert after((0, 0, 2), (60, LEAST_SUBJECTS - 1, 2)).per_worker_second() is None
    assert after((0, 0, 2), (60, LEAST_SUBJECTS, 2)).per_worker_second() is not None


def test_it_is_what_one_worker_does() -> None:
    assert after((0, 0, 4), (100, 40, 4)).per_worker_second() == pytest.approx(0.1)


def test_a_worker_with_nothing_to_do_does_not_slow_it_down() -> None:
    assert after((0, 0, 4), (100, 40, 4), (200, 0, 0)).per_worker_second() == pytest.approx(0.1)


def test_what_a_busy_worker_does_not_get_done_slows_it_down() -> None:
    assert after((0, 0, 4), (100, 40, 4), (200, 0, 4)).per_worker_second() == pytest.approx(0.05)


def test_what_was_done_at_first_is_not_of_the_time_that_follows() -> None:
    assert after((0, 1000, 4), (100, 40, 4)).per_worker_second() == pytest.approx(0.1)


def test_reports_in_the_same_moment_are_added_up() -> None:
    assert after((0, 0, 4), (100, 10, 4), (100, 30, 4)).per_worker_second() == pytest.approx(0.1)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    assert after((0, 0, 4), (100, 40, 4), (50, 0, 4), (50, 0, 4)).per_worker_second() == pytest.approx(0.1)


def test_what_is_long_ago_counts_no_more() -> None:
    throughput = after((0, 0, 1), *((10.0 * step, 10, 1) for step in range(1, 200)))
    assert throughput.per_worker_second() == pytest.approx(1.0)
    start = 10.0 * 199
    after(*((start + 10.0 * step, 1, 1) for step in range(1, 200)), throughput=throughput)
    assert throughput.per_worker_second() == pytest.approx(0.1, rel=0.02)


def test_what_is_within_the_last_while_counts() -> None:
    throughput = after((0, 0, 1), (WINDOW_SECONDS / 2, 600, 1), (WINDOW_SECONDS, 0, 1))
    assert throughput.per_worker_second() == pytest.approx(600 / WINDOW_SECONDS)


def test_a_night_of_reports_is_kept_in_little_room() -> None:
    throughput = after(*((0.1 * step, 1, 1000) for step in range(50_000)))
    assert len(throughput._samples) < 300
