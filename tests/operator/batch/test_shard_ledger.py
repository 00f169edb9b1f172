"""Which shard a worker gets, and what is counted, whatever is lost on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.operator.batch.batch_given import BATCH, BATCH_UID, a_ledger, a_status, finished, on, says

from likeness_api.personalization_batch import (
    MOST_RANGE_CHARACTERS,
    FailureSample,
    PassProgress,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.shard_ranges import encode_ranges
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport
from likeness_operator.batch.shard_ledger import (
    IDLE_WORKER_SECONDS,
    LISTEN_SECONDS,
    SILENT_SECONDS,
    ShardLedger,
    merged,
)


def only(*alive: str) -> dict[str, Any]:
    return {"is_alive": lambda uid: uid in alive}


def test_shards_are_claimed_in_order() -> None:
    ledger = a_ledger(3)
    assert [says(ledger, worker).shard for worker in "abc"] == [0, 1, 2]
    assert says(ledger, "d").shard is None


def test_what_is_done_already_is_not_handed_out() -> None:
    ledger = a_ledger(6, done="0-1,3")
    assert [says(ledger, worker).shard for worker in "abcd"] == [2, 4, 5, None]


def test_who_does_not_ask_gets_none() -> None:
    ledger = a_ledger()
    assert says(ledger, "a", wants=False).shard is None
    assert says(ledger, "a").shard == 0


def test_a_worker_has_one_ahead() -> None:
    ledger = a_ledger()
    assert says(ledger, "a").shard == 0
    assert says(ledger, "a", on(0)).shard == 1


def test_near_the_end_nobody_has_one_ahead() -> None:
    ledger = a_ledger(4)
    assert [says(ledger, worker).shard for worker in "ab"] == [0, 1]
    assert says(ledger, "a", on(0)).shard is None
    assert says(ledger, "c").shard == 2
    assert says(ledger, "a", finished(0)).shard == 3


def test_near_the_end_nobody_has_one_ahead_after_a_restart_either() -> None:
    ledger = a_ledger(1000, done="3-999")
    assert [says(ledger, worker).shard for worker in "ab"] == [0, 1]
    assert says(ledger, "a", on(0)).shard is None
    assert says(ledger, "c").shard == 2


def test_a_dead_pods_shards_are_free_at_once_for_the_next_one_who_asks() -> None:
    ledger = a_ledger()
    assert [says(ledger, "a").shard, says(ledger, "a", on(0)).shard] == [0, 1]
    assert says(ledger, "b", **only("b")).shard == 0
    assert says(ledger, "c", **only("b", "c")).shard == 1
    assert says(ledger, "d", **only("b", "c", "d")).shard == 2


def test_what_a_pod_gets_that_is_over_its_grace_period_is_not_lost() -> None:
    ledger = a_ledger(2)
    says(ledger, "overdue", **only())
    assert {says(ledger, worker, **only("a", "b")).shard for worker in "ab"} == {0, 1}


def test_a_pod_that_is_over_its_grace_period_does_not_get_what_it_holds_once_more() -> None:
    ledger = a_ledger()
    says(ledger, "overdue")
    assert says(ledger, "overdue", on(0), **only()).shard != 0


def test_after_a_restart_nothing_is_handed_out_before_the_workers_were_heard() -> None:
    ledger = a_ledger(listen_until=15.0)
    assert says(ledger, "a", now=14.9).shard is None
    assert says(ledger, "a", now=15.0).shard == 0


def test_after_a_restart_what_workers_hold_is_taken_over() -> None:
    ledger = a_ledger(5, listen_until=15.0)
    says(ledger, "a", on(3), now=5.0)
    says(ledger, "b", on(1), now=6.0)
    assert [says(ledger, worker, now=15.0).shard for worker in "cdef"] == [0, 2, 4, None]


def test_a_shard_that_another_one_holds_too_is_not_free_when_one_of_them_dies() -> None:
    ledger = a_ledger(2)
    for worker in "ab":
        says(ledger, worker, on(0), wants=False)
    assert says(ledger, "c", **only("b", "c")).shard == 1
    assert says(ledger, "d", **only("b", "c", "d")).shard is None


def test_a_holder_that_is_silent_loses_its_shard_to_one_with_nothing_to_do() -> None:
    ledger = a_ledger(1)
    says(ledger, "a")
    assert says(ledger, "b", now=SILENT_SECONDS).shard is None
    assert says(ledger, "b", now=SILENT_SECONDS + 1).shard == 0
    assert says(ledger, "c", now=SILENT_SECONDS + 1).shard is None


def test_a_silent_holder_loses_nothing_to_one_that_has_something_to_do() -> None:
    ledger = a_ledger(100, done="2-99")
    assert [says(ledger, worker).shard for worker in "ab"] == [0, 1]
    assert says(ledger, "b", on(1), now=SILENT_SECONDS + 1).shard is None


def test_what_a_silent_holder_held_is_not_handed_out_once_it_is_done() -> None:
    ledger = a_ledger(2)
    says(ledger, "a", on(0), wants=False)
    says(ledger, "b", on(0), wants=False)  # as after a restart
    says(ledger, "b", finished(0), wants=False)
    says(ledger, "b", on(1), wants=False)
    assert says(ledger, "c", now=SILENT_SECONDS + 1).shard != 0


def test_one_that_reports_is_not_silent() -> None:
    ledger = a_ledger(1)
    says(ledger, "a")
    says(ledger, "a", on(0), now=SILENT_SECONDS)
    assert says(ledger, "b", now=SILENT_SECONDS + 1).shard is None


def test_a_shard_whose_answer_was_lost_is_free_again() -> None:
    ledger = a_ledger()
    assert says(ledger, "a").shard == 0
    assert says(ledger, "a").shard == 0


def test_counts_are_of_the_shard_from_its_beginning() -> None:
    ledger = a_ledger()
    says(ledger, "a")
    says(ledger, "a", on(0, 3, 1))
    says(ledger, "a", on(0, 5, 1))
    assert ledger.so_far() == (5, 1, 4)


def test_one_who_starts_a_shard_over_takes_nothing_away() -> None:
    ledger = a_ledger()
    says(ledger, "a", on(0, 5, 1))
    says(ledger, "b", on(0), **only("b"))
    assert ledger.so_far() == (5, 1, 4)
    says(ledger, "b", on(0, 7, 1))
    assert ledger.so_far() == (7, 1, 2)


def test_what_nobody_works_on_does_not_run() -> None:
    ledger = a_ledger()
    says(ledger, "a", on(0, 5, 1))
    says(ledger, "a", gives_back=True)
    assert ledger.so_far() == (5, 1, 0)


def test_a_finished_shard_counts_once_though_two_workers_report_it() -> None:
    ledger = a_ledger()
    for worker in "ab":
        says(ledger, worker, on(0, 4))
        says(ledger, worker, finished(0, 9, 1, seconds=30))
    assert ledger.so_far() == (9, 1, 0)
    assert (ledger.gpu_seconds, ledger.left) == (30, 9)
    assert ledger.shards() == Shards(total=10, done="0", succeeded=9, failed=1)


def test_what_is_told_late_of_a_finished_shard_does_not_open_it() -> None:
    ledger = a_ledger()
    says(ledger, "a", finished(0), wants=False)
    says(ledger, "b", on(0, 2), wants=False)
    assert ledger.so_far() == (10, 0, 0)
    assert (ledger.busy(0.0), ledger.left) == (0, 9)


def test_one_that_was_told_to_end_gives_back_what_it_does_not_hold() -> None:
    ledger = a_ledger(2)
    assert [says(ledger, "a").shard, says(ledger, "b").shard] == [0, 1]
    answer = says(ledger, "a", finished(0), wants=False, gives_back=True)
    assert (answer.release, answer.shard) == (True, None)
    says(ledger, "b", wants=False, gives_back=True)
    assert says(ledger, "c").shard == 1
    assert ledger.shards().done == "0"


def test_workers_are_released_when_all_is_done_in_the_last_pass() -> None:
    ledger = a_ledger(1)
    assert not says(ledger, "a").release
    assert says(ledger, "a", finished(0)).release


def test_workers_wait_for_the_next_pass() -> None:
    ledger = a_ledger(1, last_pass=False)
    says(ledger, "a")
    assert not says(ledger, "a", finished(0)).release


def test_one_is_released_where_there_are_as_many_older_workers_as_are_wanted() -> None:
    ledger = a_ledger(wanted=3)
    assert says(ledger, "a", older=2) == ShardAnswer(shard=0)
    answer = says(ledger, "b", older=3)
    assert (answer.release, answer.shard) == (True, None)


def test_what_one_holds_that_is_released_is_its_own_until_it_gives_it_back() -> None:
    ledger = a_ledger(1, wanted=1)
    says(ledger, "a")
    assert says(ledger, "a", on(0), older=1).release
    assert says(ledger, "b").shard is None
    says(ledger, "a", gives_back=True, wants=False, older=1)
    assert says(ledger, "b").shard == 0


def test_one_with_nothing_to_do_is_kept_for_a_while_in_case_another_one_dies() -> None:
    ledger = a_ledger(1)
    says(ledger, "a")
    assert not says(ledger, "b").release
    says(ledger, "a", on(0, 1), now=IDLE_WORKER_SECONDS, wants=False)
    assert not says(ledger, "b", now=IDLE_WORKER_SECONDS - 1).release
    assert says(ledger, "b", now=IDLE_WORKER_SECONDS).release


def test_one_that_gets_something_is_idle_no_more() -> None:
    ledger = a_ledger(1)
    says(ledger, "a")
    says(ledger, "b")
    assert says(ledger, "b", now=15.0, **only("b")).shard == 0
    says(ledger, "b", on(0), now=16.0, gives_back=False)
    assert not says(ledger, "b", on(0), now=IDLE_WORKER_SECONDS + 1).release


def test_nobody_is_released_for_want_of_work_while_the_operator_listens() -> None:
    ledger = a_ledger(listen_until=100.0)
    says(ledger, "a", now=1.0)
    assert not says(ledger, "a", now=99.0).release


def test_another_revisions_worker_is_released_and_counts_nothing() -> None:
    ledger = a_ledger()
    answer = says(ledger, "a", finished(0), revision=2)
    assert (answer.release, answer.shard, ledger.left) == (True, None, 10)


def test_what_is_told_of_another_pass_does_not_count() -> None:
    ledger = a_ledger(passes=[PassProgress(steps=6), PassProgress(steps=12)])
    says(ledger, "a", finished(0), pass_index=0)
    assert ledger.left == 10
    answer = says(ledger, "a", finished(0), pass_index=1)
    assert (ledger.left, answer.pass_index) == (9, 1)


def test_shards_beyond_the_last_are_passed_over() -> None:
    ledger = a_ledger(2)
    says(ledger, "a", finished(2), on(7, 5))
    assert (ledger.left, ledger.so_far()) == (2, (0, 0, 0))


def test_shards_that_results_showed_to_be_undone_are_handed_out_again() -> None:
    ledger = a_ledger(4)
    says(ledger, "a", *map(finished, range(4)))
    ledger.undone_by(a_status(shards=Shards(total=4, done="0,2"), collections=1))
    assert ledger.left == 2
    assert [says(ledger, worker).shard for worker in "abc"] == [1, 3, None]


def test_a_status_that_is_merely_older_undoes_nothing() -> None:
    ledger = a_ledger(4)
    says(ledger, "a", *map(finished, range(4)))
    ledger.undone_by(a_status(shards=Shards(total=4, done="0,2")))
    assert ledger.left == 0


def test_a_shard_that_is_done_over_again_counts_once() -> None:
    ledger = a_ledger(2)
    says(ledger, "a", finished(0, 9, 1), finished(1, 9, 1))
    ledger.undone_by(a_status(shards=Shards(total=2, done="0"), collections=1))
    says(ledger, "a", finished(1, 9, 1))
    assert ledger.so_far() == (18, 2, 0)


def test_the_most_frequent_reasons_are_kept_with_the_first_sample_of_each() -> None:
    ledger = a_ledger(failures=[FailureSample(reason="A", count=1, id="first", message="m")])
    told = [
        FailureSample(reason="A", count=1, id="later", message="n"),
        FailureSample(reason="B", count=5, message="o"),
    ]
    says(ledger, "a", finished(0, 4, 6, failures=told))
    assert [(each.reason, each.count, each.id) for each in ledger.failures] == [("B", 5, None), ("A", 2, "first")]


def test_of_many_reasons_the_ten_most_frequent_are_kept() -> None:
    reasons = [FailureSample(reason=f"Reason{count}", count=count, message="") for count in range(1, 15)]
    assert [each.count for each in merged(reasons[:7], reasons[7:])] == list(range(14, 4, -1))


def test_workers_of_a_crowd_report_less_often() -> None:
    few, many = a_ledger(), a_ledger(1000)
    pauses = [[says(ledger, f"{number}").pause_seconds for number in range(500)][-1] for ledger in (few, many)]
    assert pauses == [10.0, 10.0]
    assert says(a_ledger(), "a").pause_seconds == 2.0


def test_one_with_nothing_to_do_asks_again_soon() -> None:
    ledger = a_ledger(1)
    says(ledger, "a")
    assert says(ledger, "b").pause_seconds == 1.0


def test_the_pace_is_what_one_busy_worker_does() -> None:
    ledger = a_ledger()
    for now in range(0, 101, 2):
        for worker, shard in (("a", 0), ("b", 1)):
            says(ledger, worker, on(shard, now // 10), now=now, wants=False)
    assert ledger.throughput.per_worker_second() == pytest.approx(0.1, rel=0.1)


def test_a_worker_that_is_lost_does_not_slow_the_pace_down() -> None:
    ledger = a_ledger()
    says(ledger, "lost", on(1), wants=False)
    for now in range(0, 101, 2):
        says(ledger, "a", on(0, now // 10), now=now, wants=False)
    assert ledger.throughput.per_worker_second() == pytest.approx(0.1, rel=0.1)


def test_what_was_done_before_a_restart_does_not_make_the_pace() -> None:
    ledger = a_ledger(listen_until=LISTEN_SECONDS)
    for now in (0.0, 2.0, 4.0):
        for shard in range(5):
            says(ledger, f"worker {shard}", on(shard, 9), now=now, wants=False)
    assert not ledger.throughput.per_worker_second()


def test_what_is_done_can_be_told_however_scattered_it_is() -> None:
    ledger = a_ledger(100_000)
    for shard in range(0, 100_000, 8):
        says(ledger, "a", finished(shard), finished(shard + 2), finished(shard + 4), finished(shard + 6), wants=False)
    assert ledger.shards().total == 100_000


def test_what_falls_out_of_a_full_status_counts_once_though_the_operator_restarts_twice() -> None:
    full = encode_ranges(range(10_000, 100_000, 2), MOST_RANGE_CHARACTERS)
    count = full.count(",") + 1
    first = a_ledger(100_000, shards=Shards(total=100_000, done=full, succeeded=10 * count))
    says(first, "a", finished(0), finished(5), wants=False)
    second = a_ledger(100_000, shards=first.shards())
    says(second, "a", *(finished(shard) for shard in sorted(first.done - second.done)[:4]), wants=False)
    assert len(second.done) == count + 2
    assert second.so_far() == (10 * (count + 2), 0, 0)


SIZES = [12, 9, 9, 7, 5, 5, 3, 3, 2, 1, 1, 1]


@dataclass
class Hand:
    """A worker as its supervisor behaves: at most two shards, what was not acknowledged is said again."""

    held: list[ShardProgress] = field(default_factory=list)
    finished: list[ShardProgress] = field(default_factory=list)
    released: bool = False

    def works(self, chance: random.Random) -> None:
        if not self.held:
            return
        shard = self.held[0].shard
        through = min(SIZES[shard], self.held[0].succeeded + self.held[0].failed + chance.randint(1, 4))
        failed = sum(fails(shard, subject) for subject in range(through))
        done = through == SIZES[shard]
        progress = on(shard, through - failed, failed, subjects=SIZES[shard], finished=done)
        self.held[0] = progress
        if done:
            self.finished.append(self.held.pop(0))

    def report(self) -> ShardReport:
        wants = not self.released and len(self.held) < 2
        return ShardReport(batch=BATCH, revision=1, holds=[*self.finished[:2], *self.held], wants=wants)

    def hears(self, answer: ShardAnswer) -> None:
        self.finished = self.finished[2:]
        self.released = self.released or answer.release
        if answer.shard is not None:
            self.held.append(on(answer.shard, subjects=0))


def fails(shard: int, subject: int) -> bool:
    return (shard + subject) % 5 == 0


FAILING = sum(fails(shard, subject) for shard, size in enumerate(SIZES) for subject in range(size))
GOOD = sum(SIZES) - FAILING


@dataclass
class Night:
    """Workers that die, operators that start anew from a status that is older than what they knew, lost messages."""

    chance: random.Random
    status: PersonalizationBatchStatus = field(default_factory=lambda: a_status(shards=Shards(total=len(SIZES))))
    now: float = 0.0
    hands: dict[str, Hand] = field(default_factory=dict)
    born: int = 0

    def __post_init__(self) -> None:
        self.starts(listen_until=0.0)

    def starts(self, listen_until: float) -> None:
        self.ledger = ShardLedger.of(BATCH_UID, self.status, listen_until)
        self.ledger.wanted, self.ledger.last_pass = 100, True

    def writes(self) -> None:
        self.status = self.status.model_copy(update={"shards": self.ledger.shards()})

    def happens(self, *, calm: bool) -> None:
        self.now += self.chance.choice([0.1, 1.0, 5.0]) if calm else self.chance.choice([0.1, 1.0, 5.0, 70.0])
        what = self.chance.random()
        if what < 0.03 and not calm:
            self.starts(self.now + LISTEN_SECONDS)
        elif what < 0.08 and not calm and self.hands:
            del self.hands[self.chance.choice(list(self.hands))]
        elif what < 0.2:
            self.writes()
        elif len(self.hands) < 3:
            self.born += 1
            self.hands[f"worker {self.born}"] = Hand()
        else:
            self.reports(self.chance.choice(list(self.hands)), lost=0.0 if calm else 0.1)

    def reports(self, name: str, lost: float) -> None:
        hand = self.hands[name]
        hand.works(self.chance)
        if self.chance.random() < lost:
            return
        answer = self.ledger.report(hand.report(), name, self.now, is_alive=self.hands.__contains__, older=0)
        if self.chance.random() < lost:
            return
        hand.hears(answer)
        if hand.released and not (hand.held or hand.finished):
            del self.hands[name]


@pytest.mark.parametrize("seed", range(100))
def test_whatever_dies_each_shard_is_done_and_counted_once(seed: int) -> None:
    night = Night(random.Random(seed))  # noqa: S311
    for step in range(3000):
        night.happens(calm=step > 200)
        succeeded, failed, running = night.ledger.so_far()
        assert succeeded <= GOOD
        assert failed <= FAILING
        assert succeeded + failed + running <= sum(SIZES)
        if night.ledger.left == 0 and step > 200:
            break
    assert night.ledger.shards() == Shards(
        total=len(SIZES), done=encode_ranges(range(len(SIZES))), succeeded=GOOD, failed=FAILING
    )
    assert night.ledger.so_far() == (GOOD, FAILING, 0)


@pytest.mark.parametrize("seed", range(20))
def test_without_restarts_and_silence_no_two_workers_hold_the_same_shard(seed: int) -> None:
    night = Night(random.Random(seed))  # noqa: S311
    for _ in range(500):
        night.happens(calm=True)
        held = [each.shard for hand in night.hands.values() for each in hand.held]
        assert len(set(held)) == len(held)
