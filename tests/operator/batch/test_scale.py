"""How many workers a batch should have, and when it will be done."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from given import NOW
from likeness_operator.batch.scale import LONGEST_SECONDS, BatchPace, WorkerGoal, eta, workers_wanted

HOUR = 3600.0


def by(hours: float, fewest: int = 1, most: int = 100) -> WorkerGoal:
    """To be done in so many hours; it began three hours ago."""
    return WorkerGoal(fewest, most, NOW + timedelta(hours=hours), NOW - timedelta(hours=3))


def left(workers: float, hours: float) -> BatchPace:
    """As much as takes so many workers so long."""
    return BatchPace(subjects_left=round(workers * hours * HOUR), useful_workers=1000, per_worker_second=1.0)


def spare_hours(goal: WorkerGoal) -> float:
    return goal.seconds_left(NOW) / HOUR


def test_without_a_moment_to_be_done_by_there_are_as_many_as_there_may_be() -> None:
    assert workers_wanted(left(1, 1), 1, WorkerGoal(1, 8), NOW) == 8


@pytest.mark.parametrize("goal", [WorkerGoal(2, 8), by(1, 2, 8), by(-1, 2, 8)], ids=["whenever", "soon", "too late"])
@pytest.mark.parametrize("pace", [None, 0.001], ids=["not measured", "slow"])
def test_no_further_ones_are_made_than_there_are_shards(goal: WorkerGoal, pace: float | None) -> None:
    assert workers_wanted(BatchPace(1000, 3, pace), 2, goal, NOW) <= 3
    assert workers_wanted(BatchPace(0, 0, pace), 0, goal, NOW) == 0


def test_none_is_taken_away_because_others_have_the_last_shards() -> None:
    assert workers_wanted(BatchPace(1000, 3, None), 8, WorkerGoal(1, 8), NOW) == 8


@pytest.mark.parametrize("seed", range(200))
def test_there_are_never_fewer_or_more_than_the_spec_says(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    fewest, present = chance.randint(0, 20), chance.randint(0, 60)
    goal = by(chance.uniform(-5, 20), fewest, chance.randint(max(1, fewest), 40))
    pace = BatchPace(chance.randint(0, 10**6), chance.randint(0, 50), chance.choice([None, chance.uniform(0.001, 10)]))
    wanted = workers_wanted(pace, present, goal, NOW)
    assert min(goal.fewest, pace.useful_workers) <= wanted <= min(goal.most, max(pace.useful_workers, present))


def test_as_many_are_wanted_as_it_takes() -> None:
    goal = by(8)
    assert workers_wanted(left(20, spare_hours(goal)), 5, goal, NOW) == 20
    assert workers_wanted(left(200, spare_hours(goal)), 5, goal, NOW) == 100


@pytest.mark.parametrize("seed", range(50))
def test_those_that_are_wanted_are_done_in_time(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    goal, present = by(chance.uniform(1, 20)), chance.randint(0, 100)
    pace = left(chance.uniform(1, 80), spare_hours(goal))
    wanted = workers_wanted(pace, present, goal, NOW)
    assert goal.complete_by is not None
    assert NOW + timedelta(seconds=pace.subjects_left / wanted) <= goal.complete_by


def test_some_time_is_kept_for_what_goes_wrong() -> None:
    goal = by(10)
    assert workers_wanted(left(10, 10), 1, goal, NOW) > 10


def test_none_ends_for_a_moments_good_pace() -> None:
    goal = by(8)
    enough = left(9.0, spare_hours(goal))
    assert workers_wanted(enough, 9, goal, NOW) == 9
    assert workers_wanted(left(8.9, spare_hours(goal)), 10, goal, NOW) == 10


def test_far_ahead_some_are_taken_away_and_not_so_many_that_they_are_needed_again() -> None:
    goal = by(8)
    pace = left(5, spare_hours(goal))
    fewer = workers_wanted(pace, 10, goal, NOW)
    assert 5 <= fewer < 8
    assert workers_wanted(pace, fewer, goal, NOW) == fewer


def test_the_fewest_stay_however_far_ahead_it_is() -> None:
    goal = by(100, fewest=4)
    assert workers_wanted(left(2, spare_hours(goal)), 5, goal, NOW) == 4


def test_what_is_nearly_done_is_not_slowed_down() -> None:
    nearly = BatchPace(subjects_left=600, useful_workers=1000, per_worker_second=1.0)
    assert workers_wanted(nearly, 10, by(8), NOW) == 10


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        pytest.param(0, 2, id="the fewest begin"),
        pytest.param(5, 5, id="those there are stay"),
        pytest.param(9, 8, id="most"),
    ],
)
def test_before_anything_is_measured_it_stays_as_it_is(present: int, wanted: int) -> None:
    assert workers_wanted(BatchPace(1000, 100, None), present, by(8, 2, 8), NOW) == wanted


def test_one_works_so_that_something_is_measured() -> None:
    assert workers_wanted(BatchPace(1000, 100, None), 0, by(8, fewest=0), NOW) == 1


def test_as_long_as_a_shard_is_left_somebody_works() -> None:
    assert workers_wanted(BatchPace(0, 1, 5.0), 0, by(8, fewest=0), NOW) == 1


def test_when_it_is_too_late_all_work() -> None:
    assert workers_wanted(left(1, 1), 1, by(0), NOW) == 100
    assert workers_wanted(left(1, 1), 1, by(-1), NOW) == 100


def hours_until(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - NOW).total_seconds() / HOUR


def test_when_it_will_be_done_follows_from_the_pace_and_the_workers() -> None:
    assert hours_until(eta(left(10, 6), 5, WorkerGoal(1, 8), NOW)) == pytest.approx(12)
    assert hours_until(eta(left(10, 6), 20, WorkerGoal(1, 8), NOW)) == pytest.approx(3)


def test_nothing_is_said_of_what_was_not_measured_or_is_not_worked_on() -> None:
    assert eta(BatchPace(10, 10, None), 5, WorkerGoal(1, 8), NOW) is None
    assert eta(left(10, 6), 0, WorkerGoal(1, 8), NOW) is None


def test_what_would_take_for_ever_is_said_to_take_a_year() -> None:
    never = eta(BatchPace(10**7, 10, 1e-9), 1, WorkerGoal(1, 8), NOW)
    assert never == NOW + timedelta(seconds=LONGEST_SECONDS)


def test_where_it_is_behind_its_own_pace_is_what_counts() -> None:
    assert hours_until(eta(left(10, 12), 10, by(8), NOW)) == pytest.approx(12)


def test_where_it_is_ahead_workers_may_be_taken_away_and_it_will_be_done_later() -> None:
    goal = by(8)
    assert 3 < hours_until(eta(left(10, 3), 10, goal, NOW)) < spare_hours(goal)


def test_where_no_worker_can_be_taken_away_its_own_pace_is_what_counts() -> None:
    assert hours_until(eta(left(10, 2), 10, by(8, fewest=10), NOW)) == pytest.approx(2)


@pytest.mark.parametrize("seed", range(50))
def test_workers_that_may_be_taken_away_neither_hasten_it_nor_make_it_late(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    goal = by(chance.uniform(1, 20), fewest=chance.randint(0, 5))
    hours, workers = chance.uniform(0.1, spare_hours(goal)), chance.randint(1, 30)
    told = hours_until(eta(left(workers, hours), workers, goal, NOW))
    assert hours - 0.01 <= told <= spare_hours(goal) + 0.01
