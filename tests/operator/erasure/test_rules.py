"""What happens between the deletion of a Personalization and its end, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from given import (
    JOB_UID,
    NAME,
    NOW,
    UID,
    a_job,
    a_personalization,
    a_pod,
    a_profile,
    an_eraser,
    an_observation,
    conditions,
    erase,
    reconcile,
    the_job_name,
)
from likeness_api.accept import Refusal
from likeness_api.field import timestamp
from likeness_api.personalization import Attempt, JobRef, PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_operator.engine.decision import AddFinalizer, CreateJob, Decision, DeleteJob, Question, RemoveFinalizer
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.erasure.owner import personalization_owner
from likeness_operator.erasure.rules import PATIENCE_SECONDS, ErasureDecision
from likeness_operator.kubernetes.event import EventContent
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.label import FINALIZER

DELETE = {"deletionPolicy": "Delete"}
KNOWS_JOB = PersonalizationStatus(job_ref=JobRef(name=the_job_name(), uid=JOB_UID))
ERASED = Result(reason=Reason.ERASED, message="erased 9 objects below s3://artifacts/shop/shop/red-teapot/")


def deleted(seconds_ago: float = 1, spec: dict[str, Any] | None = None, **more: Any) -> ErasureObservation:
    moment = timestamp(NOW - timedelta(seconds=seconds_ago))
    about = a_personalization(DELETE | (spec or {}), KNOWS_JOB, deletionTimestamp=moment, finalizers=[FINALIZER])
    return replace(ErasureObservation(personalization_owner(about), NOW, profile=a_profile()), **more)


def erasing(eraser: Job, *pods: Any, **more: Any) -> ErasureDecision:
    return erase(deleted(eraser=eraser, eraser_pods=pods, **more))


def test_the_finalizer_is_there_before_there_is_a_job() -> None:
    assert reconcile(an_observation(a_personalization(DELETE))) == Decision(action=AddFinalizer())
    with_it = an_observation(a_personalization(DELETE, finalizers=[FINALIZER]))
    assert isinstance(reconcile(with_it).action, CreateJob)


def test_one_that_is_retained_or_refused_gets_no_finalizer() -> None:
    assert isinstance(reconcile(an_observation()).action, CreateJob)
    refused = an_observation(a_personalization(DELETE), profile=Refusal(Reason.PROFILE_NOT_FOUND, "none"))
    assert reconcile(refused).action is None


@pytest.mark.parametrize(
    ("status", "job"),
    [
        pytest.param(PersonalizationStatus(), a_job(), id="its Job is there"),
        pytest.param(KNOWS_JOB, None, id="its Job was there"),
        pytest.param(PersonalizationStatus(attempts=[Attempt(pod="p", reason="JobDeleted")]), None, id="was lost"),
    ],
)
def test_a_finalizer_that_somebody_took_off_comes_back(status: PersonalizationStatus, job: Job | None) -> None:
    assert reconcile(an_observation(a_personalization(DELETE, status), job)) == Decision(action=AddFinalizer())


def test_without_the_finalizer_nothing_happens_to_one_that_is_being_deleted() -> None:
    for policy in ({}, DELETE):
        about = a_personalization(policy, KNOWS_JOB, deletionTimestamp=timestamp(NOW))
        assert erase(ErasureObservation(personalization_owner(about), NOW, (a_job(),))) == Decision()


def test_first_the_tuning_is_ended() -> None:
    assert erase(deleted(jobs=(a_job(),), pods=(a_pod("Running"),))) == Decision(action=DeleteJob(a_job()))


def test_nothing_is_erased_while_a_pod_could_still_publish() -> None:
    first = erase(deleted(pods=(a_pod("Running"),)))
    assert (first.action, first.status, first.requeue_after_seconds) == (None, None, PATIENCE_SECONDS - 1)
    later = erase(deleted(seconds_ago=100, pods=(a_pod("Running", name="stuck"),)))
    assert conditions(later)["Erased"] == ("False", "StillRunning")
    assert later.status is not None
    assert later.status.waiting is not None
    assert "stuck" in later.status.waiting.next_step


@pytest.mark.parametrize(
    "job", [pytest.param(None, id="gone"), pytest.param(a_job("Complete"), id="ended"), pytest.param(
        a_job(owner="another"), id="not ours")]
)  # fmt: skip
def test_then_a_job_erases(job: Job | None) -> None:
    decision = erase(deleted(jobs=(job,) if job else (), pods=(a_pod(exit_code=143),)))
    assert isinstance(decision.action, CreateJob)
    manifest = decision.action.manifest
    assert manifest["metadata"]["name"] == f"{the_job_name()}-erase"
    assert manifest["metadata"]["labels"]["likeness.dev/erases"] == UID


def test_when_all_is_erased_it_may_go_and_a_tombstone_says_what_went() -> None:
    assert erasing(an_eraser("Complete"), a_pod(exit_code=0, message=ERASED)) == Decision(
        action=RemoveFinalizer(EventContent("Normal", "Erased", "Erase", ERASED.message))
    )


@pytest.mark.parametrize("pods", [(), (a_pod(exit_code=0, message="noise"),)], ids=["no pod", "no result"])
def test_the_jobs_success_counts_where_its_words_are_lost(pods: tuple[Any, ...]) -> None:
    assert erasing(an_eraser("SuccessCriteriaMet"), *pods) == Decision(
        action=RemoveFinalizer(EventContent("Normal", "Erased", "Erase", "erased"))
    )


def test_a_failure_is_said_with_a_next_step_and_the_way_out() -> None:
    missing = Result(reason=Reason.OUTPUT_NOT_FOUND, message="there is no bucket 'artifacts'")
    decision = erasing(an_eraser("Failed", reason="PodFailurePolicy"), a_pod(exit_code=10, message=missing))
    assert decision.action is None
    assert conditions(decision)["Erased"] == ("False", "OutputNotFound")
    assert decision.status is not None
    waiting = decision.status.waiting
    assert waiting is not None
    assert waiting.message == "there is no bucket 'artifacts'"
    assert "kubectl delete job" in waiting.next_step
    assert f"kubectl -n shop patch pz {NAME}" in waiting.next_step
    assert isinstance(decision.status, PersonalizationStatus)
    assert decision.status.job_ref == KNOWS_JOB.job_ref


def test_a_job_that_took_too_long_says_so_and_what_its_last_pod_said() -> None:
    away = Result(reason=Reason.STORAGE_UNAVAILABLE, message="no answer")
    decision = erasing(an_eraser("Failed", reason="DeadlineExceeded"), a_pod(exit_code=20, message=away))
    assert conditions(decision)["Erased"] == ("False", "DeadlineExceeded")
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert "no answer" in decision.status.waiting.message


def test_a_job_that_failed_is_made_again_once_it_is_gone() -> None:
    assert erasing(an_eraser("Failed", deletionTimestamp=timestamp(NOW))) == Decision()
    assert isinstance(erase(deleted(seconds_ago=3600)).action, CreateJob)


def test_one_that_starts_is_worth_no_word_and_one_that_cannot_start_is() -> None:
    assert erasing(an_eraser(), a_pod()) == Decision(requeue_after_seconds=PATIENCE_SECONDS - 1)
    stuck = erasing(an_eraser(age_seconds=100), a_pod(unschedulable="0/3 nodes are available"))
    assert conditions(stuck)["Erased"] == ("False", "Unschedulable")
    slow = erasing(an_eraser(age_seconds=100), a_pod("Running"))
    assert conditions(slow)["Erased"] == ("False", "Erasing")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"profile": Refusal(Reason.PROFILE_NOT_FOUND, "none")}, "ProfileNotFound", id="no profile"),
        pytest.param({"profile": a_profile(storage={"sourcePrefixes": ["s3://a"], "outputPrefixes": ["s3://a/b"]})},
                     "BucketNotAllowed", id="no longer allowed"),
        pytest.param({"job_refusal": Waiting(reason="QuotaExceeded", message="x", next_step="y")}, "QuotaExceeded",
                     id="quota"),
        pytest.param({"eraser": an_eraser(labels={})}, "JobNameTaken", id="name taken"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_said(more: dict[str, Any], reason: str) -> None:
    assert conditions(erase(deleted(namespace_terminating=False, **more)))["Erased"] == ("False", reason)


def test_a_spec_that_cannot_be_read_is_said() -> None:
    decision = erase(deleted(spec={"output": 7}, namespace_terminating=False))
    assert conditions(decision)["Erased"] == ("False", "InvalidSpec")
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert "TuningProfile" not in decision.status.waiting.next_step
    assert "erase what is below shop/" in decision.status.waiting.next_step


def test_one_that_cannot_be_erased_does_not_hold_up_its_namespace() -> None:
    no_profile = deleted(profile=Refusal(Reason.PROFILE_NOT_FOUND, "none"))
    assert erase(no_profile) == Decision(question=Question.NAMESPACE_TERMINATING)
    action = erase(replace(no_profile, namespace_terminating=True)).action
    assert isinstance(action, RemoveFinalizer)
    assert action.event.reason == Reason.NAMESPACE_TERMINATING


def test_a_namespace_on_its_way_out_is_not_held_up() -> None:
    refusal = Waiting(reason=Reason.NAMESPACE_TERMINATING, message="because it is being terminated", next_step="")
    action = erase(deleted(job_refusal=refusal)).action
    assert isinstance(action, RemoveFinalizer)
    assert action.event.reason == Reason.NAMESPACE_TERMINATING
    assert "s3://artifacts/shop/shop/red-teapot/" in action.event.note
