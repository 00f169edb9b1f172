from __future__ import annotations

import pytest

from given import a_job, a_profile, a_workload
from likeness_operator.kubernetes.workload import NEXT_STEPS, Workload, why_queued

JOB = a_job(profile=a_profile(queueName="gpus"))
PENDING = ("QuotaReserved", "False", "Pending", "insufficient unused quota for nvidia.com/gpu in flavor any")
RESERVED = ("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus")
PREEMPTED = ("Evicted", "True", "Preempted", "Preempted to accommodate a workload")
ADMITTED_BEFORE = ("Evicted", "False", "QuotaReserved", "Previously: preempted")
CHECKS = [
    {"name": "budget", "state": "Pending", "message": "asking"},
    {"name": "node", "state": "Ready", "message": ""},
]


@pytest.mark.parametrize(
    ("workload", "reason", "words"),
    [
        pytest.param(a_workload(PENDING), "Pending", "insufficient unused quota", id="no quota"),
        pytest.param(
            a_workload(("QuotaReserved", "False", "Inadmissible", "LocalQueue gpus doesn't exist")),
            "Inadmissible",
            "LocalQueue gpus doesn't exist",
            id="no queue",
        ),
        pytest.param(
            a_workload(PENDING, PREEMPTED),
            "Preempted",
            "accommodate a workload; insufficient unused quota",
            id="preempted",
        ),
        pytest.param(a_workload(PENDING, ADMITTED_BEFORE), "Pending", "insufficient", id="preempted once, long ago"),
        pytest.param(a_workload(RESERVED, checks=CHECKS), "AdmissionCheck", "budget is Pending: asking", id="check"),
        pytest.param(a_workload(), "Queued", "waits for Kueue", id="nothing said"),
        pytest.param(
            a_workload(("QuotaReserved", "False", "Pending", "")), "Pending", "waits for Kueue", id="no words"
        ),
    ],
)
def test_waiting_has_kueues_own_reason_and_a_next_step(workload: Workload, reason: str, words: str) -> None:
    waiting = why_queued(JOB, [workload])
    assert waiting.reason == reason
    assert words in waiting.message
    assert waiting.next_step


def test_without_a_workload_it_says_that_kueue_may_not_be_there() -> None:
    waiting = why_queued(JOB, [])
    assert waiting.reason == "Queued"
    assert "not installed" in waiting.next_step


def test_a_reason_of_a_later_kueue_is_passed_on_with_where_to_look() -> None:
    waiting = why_queued(JOB, [a_workload(("QuotaReserved", "False", "NewReason", "new words"))])
    assert waiting.reason not in NEXT_STEPS
    assert (waiting.reason, waiting.message) == ("NewReason", "new words")
    assert "describe workload job-red-teapot" in waiting.next_step


@pytest.mark.parametrize("reason", ["", "no:thing_2", "x" * 2000])
def test_a_reason_that_no_condition_of_ours_could_have_is_not_taken_over(reason: str) -> None:
    assert why_queued(JOB, [a_workload(("QuotaReserved", "False", reason, "said"))]).reason == "Queued"


def test_a_deactivated_workload_is_somebodys_to_activate() -> None:
    said = ("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded", "5 times")
    assert "spec.active" in why_queued(JOB, [a_workload(said)]).next_step


def test_a_wordy_kueue_is_cut_to_what_the_crd_takes() -> None:
    assert len(why_queued(JOB, [a_workload(("QuotaReserved", "False", "Pending", "x" * 5000))]).message) == 2048
