"""What the status of a batch says of numbers, and how much of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.operator.batch.batch_given import (
    a_batch,
    a_reported,
    a_status,
    a_worker,
    all_done,
    at_work,
    pod_of,
    reconcile,
    status_of,
)

from given import NOW
from likeness_api.crd import KINDS, manifest
from likeness_api.field import timestamp
from likeness_api.personalization_batch import (
    MOST_FAILURES,
    MOST_RANGE_CHARACTERS,
    BatchPlanStatus,
    Counts,
    FailureSample,
    PassProgress,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.shard_ranges import encode_ranges
from likeness_operator.batch.observation import BatchObservation
from likeness_operator.batch.status import observed, says_more
from schema import complaints

MOST_STATUS_BYTES = 20_000
PLAN = BatchPlanStatus(lines=120, subjects=100, skipped=15, failed=5)
COUNTS = Counts(total=120, skipped=15, failed=5, pending=100)
(STATUS_SCHEMA,) = [
    version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for kind in KINDS
    if kind.kind == "PersonalizationBatch"
    for version in manifest(kind)["spec"]["versions"]
]


def working(count: int = 2, **more: Any) -> BatchObservation:
    workers = [a_worker(number) for number in range(count)]
    more = {"status": a_status(plan=PLAN, counts=COUNTS)} | more
    return at_work(*[(job, pod_of(job)) for job in workers], **more)


def told(status: PersonalizationBatchStatus | None = None, spec: dict[str, Any] | None = None, **reported: Any) -> Any:
    """The status after the workers have reported that."""
    status = status or a_status(plan=PLAN, counts=COUNTS)
    return observed(working(status=status, spec=spec, reported=a_reported(**reported)))


def test_each_subject_is_counted_once() -> None:
    counts = told(succeeded=40, failed=10, running=8).counts
    assert counts == Counts(total=120, succeeded=40, skipped=15, failed=15, running=8, pending=42)


def test_more_cannot_run_than_is_left() -> None:
    counts = told(succeeded=88, failed=10, running=8).counts
    assert (counts.running, counts.pending) == (2, 0)


def test_what_is_told_again_after_a_restart_takes_nothing_away() -> None:
    before = told(succeeded=40, failed=10, gpu_seconds=100)
    after = told(before, succeeded=20, failed=5, gpu_seconds=60)
    assert (after.counts.succeeded, after.counts.failed, after.gpu_seconds) == (40, 15, 100)
    assert after.passes == [PassProgress(steps=12, done=50)]


@pytest.mark.parametrize("seed", range(50))
def test_counts_never_fall_and_always_add_up(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    good = chance.randint(0, 100)
    status = a_status(plan=PLAN, counts=COUNTS)
    succeeded = failed = 0
    for _ in range(50):
        succeeded, failed = chance.randint(succeeded, good), chance.randint(failed, 100 - good)
        if chance.random() < 0.1:
            succeeded, failed = succeeded // 2, failed // 2  # the operator begins anew
        before, status = status, told(status, succeeded=succeeded, failed=failed, running=chance.randint(0, 50))
        counts = status.counts
        assert counts.succeeded >= before.counts.succeeded
        assert counts.failed >= before.counts.failed
        assert status.passes[-1].done >= before.passes[-1].done
        assert counts.succeeded + counts.skipped + counts.failed + counts.running + counts.pending == counts.total
        assert min(counts.succeeded, counts.failed, counts.running, counts.pending) >= 0


@pytest.mark.parametrize("plan", [PLAN, BatchPlanStatus(lines=100, subjects=100)], ids=["some skipped", "none skipped"])
def test_counts_add_up_and_do_not_fall_when_shards_are_done_over(plan: BatchPlanStatus) -> None:
    before = told(a_status(plan=plan), succeeded=90, failed=10)
    counts = told(before, succeeded=112, failed=13).counts
    assert counts.succeeded + counts.skipped + counts.failed == counts.total
    assert counts.failed >= before.counts.failed


def test_a_later_pass_adds_nobody_and_takes_nobody_away() -> None:
    first = told(succeeded=90, failed=10)
    second = first.model_copy(update={"passes": [PassProgress(steps=6, done=100), PassProgress(steps=12)]})
    status = told(second, {"passes": [6, 12]}, succeeded=30, failed=20, running=8)
    assert status.counts == first.counts.model_copy(update={"running": 0})
    assert status.passes == [PassProgress(steps=6, done=100), PassProgress(steps=12, done=50)]


def test_shards_gpu_seconds_and_failures_are_what_was_reported() -> None:
    failures = [FailureSample(reason="ImageUnreadable", count=3, id="SKU 1", message="no picture")]
    status = told(shards=Shards(total=4, done="0-1"), gpu_seconds=77, failures=failures)
    assert (status.shards, status.gpu_seconds, status.failures) == (Shards(total=4, done="0-1"), 77, failures)


def worst_ranges() -> str:
    """As long as the type takes: every second shard, of numbers that are as long as they get."""
    return encode_ranges(range(10_000, 10_000 + 2000, 2))


def test_the_longest_ranges_are_as_long_as_the_type_takes() -> None:
    assert len(worst_ranges()) == MOST_RANGE_CHARACTERS - 1
    assert Shards(total=100_000, done=worst_ranges()).done == worst_ranges()


def grown(sample_id: str, letter: str) -> PersonalizationBatchStatus:
    """All that a status says at once: four passes, ten failures, a moment to be done by, a worker that waits."""
    failures = [
        FailureSample(reason=f"OutOfDeviceMemory{number}", count=10**6, id=sample_id, message=letter * 2000)
        for number in range(MOST_FAILURES)
    ]
    steps = [6, 12, 24, 48]
    status = a_status(
        plan=BatchPlanStatus(lines=10**7, subjects=10**7),
        passes=[PassProgress(steps=each, done=10**7) for each in steps[:3]] + [PassProgress(steps=48)],
        shards=Shards(total=100_000),
        counts=Counts(total=10**7),
        start_time=timestamp(NOW),
    )
    spec = {"passes": steps, "completeBy": timestamp(NOW + timedelta(hours=1))}
    reported = a_reported(
        shards=Shards(total=100_000, done=worst_ranges(), succeeded=9 * 10**6, failed=10**6),
        succeeded=8 * 10**6, failed=10**6, per_worker_second=0.01, failures=failures, gpu_seconds=10**8,
    )  # fmt: skip
    ran = status_of(reconcile(working(status=status, spec=spec, reported=reported)))
    worker = a_worker(0)
    stuck = (worker, pod_of(worker, "Pending", unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu"))
    waits = at_work(stuck, status=ran, spec=spec, reported=reported, workers_wanted=1)
    return status_of(reconcile(waits))


def size(status: PersonalizationBatchStatus) -> int:
    return len(json.dumps(status.to_json(), separators=(",", ":"), ensure_ascii=False).encode())


def test_a_status_stays_small_whatever_is_done_and_fails() -> None:
    status = grown("SKU_12345", "x")
    assert len(status.failures) == MOST_FAILURES
    assert {"OnTrack", "Running", "Waiting"} <= {each.type for each in status.conditions}
    assert 10_000 < size(status) < MOST_STATUS_BYTES
    assert complaints(status.to_json(), STATUS_SCHEMA) == []


@pytest.mark.parametrize(
    ("sample_id", "letter"), [("x" * 256, "x"), ("SKU_12345", "像")], ids=["long ids", "other scripts"]
)
def test_a_status_stays_small_whatever_samples_are_called(sample_id: str, letter: str) -> None:
    assert size(grown(sample_id, letter)) < MOST_STATUS_BYTES


def on_track(seconds_each: float, hours: float, **more: Any) -> PersonalizationBatchStatus:
    """100 subjects, 40 of them done, so many seconds each, by two workers, to be done in so many hours."""
    reported = a_reported(succeeded=40, per_worker_second=1 / seconds_each)
    spec = {"completeBy": timestamp(NOW + timedelta(hours=hours)), "workers": {"min": 2, "max": 2}}
    return observed(working(spec=spec | more.pop("spec", {}), reported=reported, **more))


def test_it_says_with_numbers_whether_it_will_be_done_in_time() -> None:
    (condition,) = on_track(60, hours=1).conditions
    assert (condition.type, condition.status, condition.reason) == ("OnTrack", "True", "OnTrack")
    assert condition.message == (
        "60 subjects left, 120 an hour with 2 workers: done by 2026-11-23T12:30:00Z, 30 minutes before completeBy"
    )


def test_it_says_by_how_much_it_will_be_late() -> None:
    (condition,) = on_track(180, hours=1).conditions
    assert (condition.status, condition.reason) == ("False", "Behind")
    assert "done by 2026-11-23T13:30:00Z, 30 minutes after completeBy" in condition.message


def test_the_pace_is_that_of_the_workers_there_are() -> None:
    status = on_track(60, hours=1)
    assert (status.subjects_per_hour, status.eta_time) == (120, "2026-11-23T12:30:00Z")


def test_without_a_moment_to_be_done_by_it_says_when_it_will_be_done_alone() -> None:
    status = told(succeeded=40, per_worker_second=1 / 60)
    assert (status.eta_time, status.conditions) == ("2026-11-23T12:30:00Z", [])


def test_before_anything_is_measured_nothing_is_promised() -> None:
    status = told(spec={"completeBy": timestamp(NOW)}, succeeded=4)
    assert (status.eta_time, status.subjects_per_hour, status.conditions) == (None, None, [])


def test_before_the_last_pass_nothing_is_promised() -> None:
    status = on_track(60, hours=1, spec={"passes": [12, 24]})
    assert (status.eta_time, status.conditions) == (None, [])


NUMBERS: dict[str, Callable[[BatchObservation], BatchObservation]] = {
    "subjects": lambda o: replace(o, reported=a_reported(succeeded=50, failed=3, running=9)),
    "shards": lambda o: replace(o, reported=a_reported(shards=Shards(total=4, done="0-2"))),
    "gpu seconds": lambda o: replace(o, reported=a_reported(gpu_seconds=50)),
    "pace": lambda o: replace(o, reported=a_reported(per_worker_second=0.5)),
    "workers": lambda o: replace(o, jobs=o.jobs[:1], pods=o.pods[:1], workers_wanted=1),
    "failures": lambda o: replace(
        o, reported=a_reported(failures=[FailureSample(reason="InvalidLine", count=3, message="")])
    ),
}


@pytest.mark.parametrize("change", NUMBERS.values(), ids=list(NUMBERS))
def test_numbers_alone_are_not_worth_a_write_at_once(change: Callable[[BatchObservation], BatchObservation]) -> None:
    before = working(status=status_of(reconcile(working())))
    after = status_of(reconcile(change(before)))
    assert after != before.batch.written
    assert not says_more(after, before.batch.written)


def test_the_numbers_in_a_message_are_not_worth_a_write_at_once() -> None:
    before = on_track(60, hours=1)
    after = on_track(61, hours=1, status=before)
    assert after.conditions[0].message != before.conditions[0].message
    assert not says_more(after, before)


MORE: dict[str, PersonalizationBatchStatus] = {
    "late": on_track(180, hours=1, status=on_track(60, hours=1)),
    "suspended": status_of(reconcile(working(spec={"suspend": True}, count=0))),
    "next pass": a_status(plan=PLAN, counts=COUNTS, shards=None),
    "undone": a_status(plan=PLAN, counts=COUNTS, collections=1),
    "planned anew": a_status(plan=PLAN.model_copy(update={"removed": 3}), counts=COUNTS),
    "other shards": a_status(plan=PLAN, counts=COUNTS, shards=Shards(total=5)),
    "collecting": status_of(reconcile(all_done((a_worker(0), pod_of(a_worker(0))), reported=a_reported()))),
}


@pytest.mark.parametrize("after", MORE.values(), ids=list(MORE))
def test_all_else_is_written_at_once(after: PersonalizationBatchStatus) -> None:
    assert says_more(after, on_track(60, hours=1))


def test_a_reason_that_changes_is_written_at_once() -> None:
    worker = a_worker(0)
    waiting = status_of(reconcile(at_work((worker, pod_of(worker, "Pending")), workers_wanted=1)))
    stuck = (worker, pod_of(worker, "Pending", unschedulable="no node"))
    assert says_more(status_of(reconcile(at_work(stuck, status=waiting, workers_wanted=1))), waiting)


def test_a_status_fits_the_schema_that_the_api_server_holds_it_to() -> None:
    for status in (
        told(succeeded=40, failed=10),
        on_track(60, hours=1),
        a_batch(status=a_status()).written,
        *MORE.values(),
    ):
        assert complaints(status.to_json(), STATUS_SCHEMA) == []
