"""How the end of a Job becomes the end of its Personalization, case by case."""

from __future__ import annotations

import pytest

from given import TUNED, a_job, a_personalization, a_pod, a_result, an_observation, conditions, reconcile, state
from likeness_api.personalization import Attempt, PersonalizationStatus
from likeness_api.reason import Reason
from likeness_operator.engine.decision import Decision, DeleteJob


def test_success_is_seen_before_the_complete_condition() -> None:
    decision = reconcile(an_observation(None, a_job("SuccessCriteriaMet"), a_pod(exit_code=0, message=TUNED)))
    assert state(decision) == "Succeeded"


def test_a_result_that_was_published_before_is_a_success() -> None:
    again = TUNED.model_copy(update={"reason": Reason.ALREADY_PUBLISHED})
    decision = reconcile(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=again)))
    assert conditions(decision)["Succeeded"] == ("True", "AlreadyPublished")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param("", "RuntimeCrashed", id="nothing"),
        pytest.param('{"reason": ', "ResultInvalid", id="half a document"),
        pytest.param("[]", "ResultInvalid", id="another document"),
        pytest.param('{"reason":"Tuned","message":"no manifest"}', "ResultInvalid", id="no manifest"),
        pytest.param(a_result(Reason.SOURCE_NOT_FOUND), "ResultInvalid", id="a failure's result"),
    ],
)
def test_a_job_that_completed_without_a_good_result_failed(message: str, reason: str) -> None:
    decision = reconcile(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=message)))
    assert conditions(decision)["Failed"] == ("True", reason)


def test_a_pod_that_ended_well_as_it_was_evicted_and_went_is_a_success() -> None:
    gone = a_pod(exit_code=0, message=TUNED, disruption="EvictionByEvictionAPI")
    decision = reconcile(an_observation(None, a_job("Complete"), removed_pods=(gone,)))
    assert conditions(decision)["Succeeded"] == ("True", "Tuned")


def test_a_completed_job_whose_pod_is_gone_is_run_again_to_find_what_it_published() -> None:
    assert reconcile(an_observation(None, a_job("Complete"))) == Decision(action=DeleteJob(a_job("Complete")))


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        pytest.param(10, Reason.IMAGE_UNREADABLE, id="input"),
        pytest.param(11, Reason.ACCESS_DENIED, id="not allowed"),
        pytest.param(12, Reason.MODEL_NOT_FOUND, id="set-up"),
        pytest.param(13, Reason.LOSS_NOT_FINITE, id="numerics"),
        pytest.param(14, Reason.OUT_OF_DEVICE_MEMORY, id="device memory"),
        pytest.param(20, Reason.STORAGE_UNAVAILABLE, id="transient error"),
    ],
)
def test_a_failed_job_has_its_last_pods_reason(exit_code: int, reason: Reason) -> None:
    pod = a_pod(exit_code=exit_code, message=a_result(reason, "what was found"))
    decision = reconcile(an_observation(None, a_job("FailureTarget", reason="PodFailurePolicy"), pod))
    assert conditions(decision)["Failed"] == ("True", reason)
    assert decision.status is not None
    assert decision.status.failure is not None
    assert (decision.status.failure.exit_code, decision.status.failure.message) == (exit_code, "what was found")


def test_exhausted_retries_say_how_many_there_were() -> None:
    pods = [
        a_pod(name=f"p{age}", exit_code=20, message=a_result(Reason.STORAGE_UNAVAILABLE), ended_seconds_ago=age)
        for age in (30, 20, 10)
    ]
    decision = reconcile(an_observation(None, a_job("Failed", reason="BackoffLimitExceeded"), *pods))
    assert conditions(decision)["Failed"] == ("True", "StorageUnavailable")
    assert decision.status is not None
    assert decision.status.failure is not None
    assert decision.status.failure.message.endswith("(after 3 attempts)")
    assert [attempt.pod for attempt in decision.status.attempts] == ["p30", "p20", "p10"]


def test_an_eviction_does_not_decide_why_a_job_failed() -> None:
    evicted = a_pod(name="p2", exit_code=143, disruption="EvictionByEvictionAPI", ended_seconds_ago=1)
    crashed = a_pod(name="p1", exit_code=1, ended_seconds_ago=100)
    decision = reconcile(an_observation(None, a_job("Failed", reason="BackoffLimitExceeded"), crashed, evicted))
    assert conditions(decision)["Failed"] == ("True", "RuntimeCrashed")
    assert decision.status is not None
    assert [attempt.reason for attempt in decision.status.attempts] == ["RuntimeCrashed", "Evicted"]


def test_the_deadline_is_named() -> None:
    decision = reconcile(an_observation(None, a_job("Failed", reason="DeadlineExceeded")))
    assert conditions(decision)["Failed"] == ("True", "DeadlineExceeded")
    assert decision.status is not None
    assert decision.status.failure is not None
    assert "3600" in decision.status.failure.message


def test_a_failed_job_without_pods_keeps_the_reason_that_the_status_remembers() -> None:
    before = PersonalizationStatus(attempts=[Attempt(pod="p", reason="StorageThrottled", exit_code=20)])
    decision = reconcile(
        an_observation(a_personalization(status=before), a_job("Failed", reason="BackoffLimitExceeded"))
    )
    assert conditions(decision)["Failed"] == ("True", "StorageThrottled")


def test_out_of_memory_names_the_limit() -> None:
    decision = reconcile(an_observation(None, a_job(), a_pod(exit_code=137, reason="OOMKilled", memory="700Mi")))
    assert conditions(decision)["Failed"] == ("True", "OutOfMemory")
    assert decision.status is not None
    assert decision.status.failure is not None
    assert "700Mi" in decision.status.failure.message
