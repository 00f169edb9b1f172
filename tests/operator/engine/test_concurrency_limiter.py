from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from given import LONG_AGO, NAMESPACE, a_job
from likeness_operator.engine import concurrency_limiter
from likeness_operator.engine.concurrency_limiter import ConcurrencyLimiter, LimitGroup, SlotRequest
from likeness_operator.engine.key import Key
from likeness_operator.kubernetes.job import Job

GROUP = LimitGroup(NAMESPACE, "sd15")


class Scene:
    """Personalizations that are numbered by age, and Jobs of theirs."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.woken: list[int] = []
        self.limiter = ConcurrencyLimiter(lambda key: self.woken.append(int(key.name)))

    def asks(self, age: int, *, ends: bool = True) -> bool:
        """One reconciliation of it. Where it got a slot, the watch has not yet told of its Job."""
        acquired = self.limiter.acquire(self.request(age))
        if ends:
            self.limiter.release(Key("Personalization", NAMESPACE, str(age)))
        return acquired

    def confirms(self, age: int, *jobs: Job, since: int) -> bool:
        return self.limiter.confirm(self.request(age), jobs, since)

    def request(self, age: int) -> SlotRequest:
        key = Key("Personalization", NAMESPACE, str(age))
        return SlotRequest(key, LONG_AGO + timedelta(seconds=age), GROUP, self.limit)

    def starts(self, age: int) -> None:
        self.limiter.observe_job(NAMESPACE, job(age))


def job(age: int, *conditions: str) -> Job:
    return a_job(*conditions, uid=f"job-{age}")


def test_as_many_start_as_the_limit_says_and_the_oldest_is_woken_when_one_ends() -> None:
    scene = Scene(limit=2)
    for age in (1, 2):
        assert scene.asks(age)
        scene.starts(age)
    assert [scene.asks(age) for age in (4, 3, 5)] == [False, False, False]
    scene.limiter.observe_job(NAMESPACE, job(1, "Complete"))
    assert scene.woken == [3]
    assert [scene.asks(age) for age in (5, 4, 3)] == [False, False, True]
    scene.starts(3)
    assert set(scene.woken) == {3, 4}
    assert not scene.asks(4)


def test_one_that_is_made_at_this_moment_counts() -> None:
    scene = Scene(limit=1)
    assert scene.asks(2, ends=False)
    assert not scene.asks(1)


def test_a_job_that_goes_away_or_is_suspended_gives_its_slot_back() -> None:
    scene = Scene(limit=1)
    scene.starts(1)
    assert not scene.asks(2)
    scene.limiter.observe_job(NAMESPACE, replace(job(1), suspended=True))
    assert scene.woken == [2]
    scene.starts(1)
    scene.limiter.observe_job(NAMESPACE, job(1), gone=True)
    assert scene.woken == [2, 2]


def test_a_queue_of_kueues_occupies_a_slot() -> None:
    scene = Scene(limit=1)
    scene.limiter.observe_job(NAMESPACE, replace(job(1), suspended=True, queued=True))
    assert not scene.asks(2)


def test_namespaces_and_profiles_do_not_share() -> None:
    scene = Scene(limit=1)
    scene.limiter.observe_job("studio", job(1))
    scene.limiter.observe_job(NAMESPACE, replace(job(2), profile="sdxl"))
    assert scene.asks(3)


def test_one_that_wants_no_slot_any_more_does_not_hold_up_the_others() -> None:
    scene = Scene(limit=2)
    scene.starts(0)
    assert scene.asks(2, ends=False)  # in a reconciliation that goes on
    assert not scene.asks(1)
    assert not scene.asks(3)
    scene.limiter.release(Key("Personalization", NAMESPACE, "2"))  # its Job was refused
    assert scene.woken == [1]
    scene.limiter.release(Key("Personalization", NAMESPACE, "1"))  # it was suspended: a reconciliation that did not ask
    assert scene.woken == [1, 3]
    assert scene.asks(3)


def test_one_that_is_gone_wakes_the_next_one() -> None:
    scene = Scene(limit=1)
    scene.starts(0)
    assert not scene.asks(1)
    assert not scene.asks(2)
    scene.limiter.cancel(Key("Personalization", NAMESPACE, "1"))
    assert scene.woken == [2]


def test_what_the_api_server_lists_and_no_watch_has_told_counts() -> None:
    scene = Scene(limit=1)
    assert scene.asks(2, ends=False)
    assert not scene.confirms(2, job(1), since=scene.limiter.tick())


def test_a_ghost_does_not_count_but_what_came_after_the_list_does() -> None:
    scene = Scene(limit=1)
    scene.starts(1)
    asked = scene.limiter.tick()
    assert scene.confirms(2, since=asked)
    scene = Scene(limit=1)
    asked = scene.limiter.tick()
    scene.starts(1)
    assert not scene.confirms(2, since=asked)


@hypothesis_given(
    st.lists(st.tuples(st.sampled_from(["ask", "end"]), st.integers(0, 9)), max_size=80), st.integers(1, 3)
)
def test_never_more_than_the_limit_and_never_past_an_older_one(story: list[tuple[str, int]], limit: int) -> None:
    scene = Scene(limit)
    running: set[int] = set()
    waiting: set[int] = set()
    for what, age in story:
        if what == "end" and age in running:
            running.discard(age)
            scene.limiter.observe_job(NAMESPACE, job(age, "Complete"))
            assert scene.woken[-1:] == [min(waiting)] if waiting else True
        elif what == "ask" and age not in running:
            free = limit - len(running) - len([older for older in waiting if older < age])
            assert scene.asks(age) == (free > 0)
            if free > 0:
                scene.starts(age)
                running.add(age)
                waiting.discard(age)
            else:
                waiting.add(age)
        assert len(running) <= limit


def test_jobs_with_made_up_labels_are_counted_up_to_a_bound_and_nothing_is_kept_of_those_that_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(concurrency_limiter, "MOST_COUNTED", 100)
    limiter = ConcurrencyLimiter(lambda _: None)
    jobs = [replace(job(age), profile=f"made-up-{age}") for age in range(1000)]
    for each in jobs:
        limiter.observe_job("flood", each)
    assert sum(map(len, limiter._occupied.values())) == 50
    for each in jobs:
        limiter.observe_job("flood", each, gone=True)
    assert not limiter._occupied
