"""The decision table, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from given import (
    JOB_UID,
    NAME,
    NOW,
    SHA,
    SPEC,
    TUNED,
    UID,
    a_job,
    a_personalization,
    a_pod,
    a_profile,
    a_result,
    a_workload,
    an_observation,
    conditions,
    reconcile,
    state,
    the_job_name,
)
from likeness_api.accept import Refusal
from likeness_api.field import timestamp
from likeness_api.personalization import Attempt, JobRef, PersonalizationStatus, Progress, Waiting
from likeness_api.reason import Reason
from likeness_operator.engine.decision import (
    AddFinalizer,
    CreateJob,
    Decision,
    DeleteJob,
    Fresh,
    PatchJob,
    Question,
    Unwatch,
    freshness_needed,
)
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.label import FINALIZER
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.decision import PersonalizationDecision
from likeness_operator.personalization.facts import Personalization, read_personalization
from likeness_operator.personalization.observation import Observation
from likeness_operator.personalization.profile import Profile
from likeness_operator.personalization.rules import OVERDUE_SECONDS

DELETING: dict[str, Any] = {"deletionTimestamp": "2026-11-23T11:59:00Z"}
DELETE: dict[str, Any] = {"deletionPolicy": "Delete"}
TOO_MUCH: dict[str, Any] = {"tuning": {"steps": 10_000}}
KNOWS_JOB = PersonalizationStatus(job_ref=JobRef(name=the_job_name(), uid=JOB_UID))


def written(observation: Observation) -> Observation:
    """The same, once the decision's status was written."""
    decision = reconcile(observation)
    assert decision.status is not None
    return replace(observation, personalization=a_personalization(status=decision.status))


def succeeded() -> Observation:
    return written(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=TUNED)))


def test_a_new_personalization_gets_a_job() -> None:
    decision = reconcile(an_observation())
    assert isinstance(decision.action, CreateJob)
    assert decision.action.manifest["metadata"]["name"] == the_job_name()


@pytest.mark.parametrize(
    "job",
    [pytest.param(None, id="job gone"), pytest.param(a_job("Complete"), id="job there")],
)
def test_a_finished_one_stays_finished(job: None) -> None:
    assert reconcile(replace(succeeded(), job=job)) == Decision()


def test_a_finished_one_stays_finished_when_its_spec_changes() -> None:
    done = succeeded()
    edited = replace(done.personalization, generation=2)
    assert reconcile(replace(done, personalization=edited, job=None, pods=())) == Decision()


def test_a_job_that_would_still_retry_is_deleted_after_the_end_was_written() -> None:
    observation = an_observation(None, a_job(), a_pod(exit_code=137, reason="OOMKilled"))
    first = reconcile(observation)
    assert first.action is None
    assert state(first) == "Failed"
    assert reconcile(written(observation)) == Decision(action=DeleteJob(a_job()))


def test_success_tells_everything_the_result_tells() -> None:
    status = succeeded().personalization.status
    assert status.nearest_word == "teapot"
    assert status.artifacts[0].uri == f"s3://artifacts/shop/shop/red-teapot/{SHA}/lora.safetensors"
    assert status.progress is not None
    assert (status.progress.step, status.progress.percent) == (12, 100)
    assert status.completion_time == "2026-11-23T12:00:00Z"
    assert status.start_time == "2026-11-23T11:00:00Z"
    assert status.attempts == [
        Attempt(pod="red-teapot-x", reason="Tuned", exit_code=0, finish_time="2026-11-23T11:59:00Z")
    ]


@pytest.mark.parametrize(
    ("spec", "finalizers", "job", "unwatched"),
    [
        pytest.param({}, [], a_job("Complete"), True, id="nothing to erase"),
        pytest.param(DELETE, [FINALIZER], a_job("Complete"), None, id="to be erased when it is deleted"),
        pytest.param(DELETE | TOO_MUCH, [], None, True, id="never had a Job"),
        pytest.param(DELETE | TOO_MUCH, [FINALIZER], None, None, id="never had a Job, but our finalizer"),
    ],
)
def test_one_whose_deletion_takes_no_work_is_unwatched_with_its_end(
    spec: K8sObject, finalizers: list[str], job: Job | None, unwatched: bool | None
) -> None:
    pods = [a_pod(exit_code=0, message=TUNED)] if job else []
    observation = an_observation(a_personalization(spec, finalizers=finalizers), job, *pods)
    decision = reconcile(observation)
    assert decision.status is not None
    assert decision.status.completion_time is not None
    assert decision.status.unwatched is unwatched


def finished_before(policy: str, *finalizers: str, **status: Any) -> Observation:
    """As an operator left it that did not know `status.unwatched`."""
    ended = {"conditions": [{"type": "Succeeded", "status": "True"}], "settled": True, **status}
    metadata: K8sObject = {"name": NAME, "namespace": "shop", "uid": UID, "resourceVersion": "7"}
    metadata |= {"creationTimestamp": timestamp(NOW), "finalizers": list(finalizers)}
    manifest = {"metadata": metadata, "spec": SPEC | {"deletionPolicy": policy}, "status": ended}
    return Observation(read_personalization(manifest), NOW)


HAD_A_JOB = {"jobRef": {"name": the_job_name(), "uid": JOB_UID}}


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(finished_before("Retain", **HAD_A_JOB), id="retained"),
        pytest.param(finished_before("Delete"), id="nothing to erase"),
        pytest.param(finished_before("Retain", attempts="two"), id="a status that cannot be read"),
    ],
)
def test_one_that_finished_under_the_operator_before_becomes_unwatched_and_is_not_started_again(
    observation: Observation,
) -> None:
    assert reconcile(observation) == Decision(action=Unwatch())
    unwatched = replace(observation.personalization, unwatched=True)
    assert reconcile(replace(observation, personalization=unwatched)) == Decision()


def test_one_that_is_to_be_erased_stays_watched_though_it_finished_before() -> None:
    assert reconcile(finished_before("Delete", FINALIZER, **HAD_A_JOB)) == Decision()
    assert reconcile(finished_before("Delete", **HAD_A_JOB)) == Decision(action=AddFinalizer())
    unreadable = finished_before("Delete", **HAD_A_JOB, attempts="two")
    assert reconcile(unreadable) == Decision(action=AddFinalizer())


def test_a_failure_rests_on_what_is_true_now_and_a_success_need_not() -> None:
    failed = reconcile(an_observation(None, a_job("Failed"), a_pod(exit_code=1)))
    succeeded = reconcile(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=TUNED)))
    assert [freshness_needed(decision) for decision in (failed, succeeded)] == [Fresh.EVERYTHING, Fresh.NOTHING]


@pytest.mark.parametrize(
    ("personalization", "needed"),
    [
        pytest.param(a_personalization(), Fresh.OBJECT, id="new"),
        pytest.param(a_personalization(status=KNOWS_JOB), Fresh.EVERYTHING, id="its Job seems lost"),
        pytest.param(a_personalization(DELETE), Fresh.EVERYTHING, id="a finalizer comes first"),
        pytest.param(a_personalization({"suspend": True}), Fresh.NOTHING, id="suspended"),
        pytest.param(a_personalization({"suspend": True}, KNOWS_JOB), Fresh.EVERYTHING, id="suspended, seems lost"),
    ],
)
def test_what_cannot_be_taken_back_rests_on_what_is_true_now(personalization: Personalization, needed: Fresh) -> None:
    assert freshness_needed(reconcile(an_observation(personalization))) is needed


def test_somebody_elses_job_of_our_name_is_left_alone() -> None:
    decision = reconcile(an_observation(None, a_job(owner="another")))
    assert conditions(decision) == {"Failed": ("True", "JobNameTaken")}
    assert reconcile(written(an_observation(None, a_job(owner="another")))) == Decision()


def test_a_job_on_its_way_out_is_waited_for() -> None:
    assert reconcile(an_observation(None, a_job(**DELETING))) == Decision()


@pytest.mark.parametrize(
    ("refusal", "next_step"),
    [
        (Refusal(Reason.PROFILE_NOT_FOUND, "no such"), "create the TuningProfile"),
        (Refusal(Reason.NO_DEFAULT_PROFILE, "two"), "spec.default"),
        (Refusal(Reason.INVALID_PROFILE, "odd"), "correct"),
    ],
)
def test_what_the_platform_team_can_put_right_is_waited_for(refusal: Refusal, next_step: str) -> None:
    decision = reconcile(an_observation(profile=refusal))
    assert conditions(decision) == {"Waiting": ("True", refusal.reason), "Accepted": ("False", refusal.reason)}
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert decision.status.waiting.reason == refusal.reason
    assert next_step in decision.status.waiting.next_step


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"output": "s3://elsewhere"}, "BucketNotAllowed"),
        ({"tuning": {"steps": 1000}}, "LimitExceeded"),
        ({"output": "s3://artifacts/shop/../other"}, "InvalidSpec"),
        ({"somethingNew": 1}, "InvalidSpec"),
    ],
)
def test_what_cannot_change_any_more_is_refused_for_good(spec: dict[str, object], reason: str) -> None:
    decision = reconcile(an_observation(a_personalization(spec)))
    assert conditions(decision) == {"Failed": ("True", reason), "Accepted": ("False", reason)}


def test_a_refused_job_is_explained_in_the_api_servers_words() -> None:
    waiting = Waiting(reason="QuotaExceeded", message="exceeded quota: gpus", next_step="make room")
    decision = reconcile(an_observation(job_refusal=waiting))
    assert decision.action is None
    assert conditions(decision) == {"Accepted": ("True", "ProfileMatched"), "Waiting": ("True", "QuotaExceeded")}
    assert decision.status is not None
    assert decision.status.waiting == waiting


def test_a_deleted_job_is_counted_and_created_again() -> None:
    decision = reconcile(an_observation(a_personalization(status=KNOWS_JOB)))
    assert isinstance(decision.action, CreateJob)
    decision = reconcile(an_observation(a_personalization(status=KNOWS_JOB), a_job(uid="another"), pod_refusal=""))
    assert decision.status is not None
    assert [attempt.reason for attempt in decision.status.attempts] == ["JobDeleted"]
    assert decision.status.job_ref == JobRef(name=the_job_name(), uid="another")


def test_a_job_deleted_three_times_is_not_created_again() -> None:
    lost = [Attempt(pod=the_job_name(), reason="JobDeleted")] * 2
    before = KNOWS_JOB.model_copy(update={"attempts": lost})
    decision = reconcile(an_observation(a_personalization(status=before)))
    assert conditions(decision)["Failed"] == ("True", "JobDeleted")
    assert decision.status is not None
    assert len(decision.status.attempts) == 3


def test_suspended_from_the_start_there_is_no_job() -> None:
    decision = reconcile(an_observation(a_personalization({"suspend": True})))
    assert decision.action is None
    assert state(decision) == "Suspended"


def test_suspending_and_resuming_patch_the_job() -> None:
    wanted = a_personalization({"suspend": True})
    assert reconcile(an_observation(wanted, a_job())).action == PatchJob(a_job(), {"suspend": True})
    suspended = replace(a_job(), suspended=True)
    decision = reconcile(an_observation(wanted, suspended))
    assert state(decision) == "Suspended"
    assert reconcile(an_observation(None, suspended)).action == PatchJob(suspended, {"suspend": False})


def test_a_resumed_one_says_so() -> None:
    before = reconcile(an_observation(a_personalization({"suspend": True}), replace(a_job(), suspended=True))).status
    decision = reconcile(an_observation(a_personalization(status=before), a_job(), a_pod("Running")))
    assert conditions(decision)["Suspended"] == ("False", "Resumed")
    assert state(decision) == "Running"


def test_a_running_pods_own_word_is_in_the_status_until_it_runs_no_more() -> None:
    half = Progress(step=5, total_steps=10, percent=50, eta_seconds=60)
    told = written(an_observation(None, a_job(), a_pod("Running"), progress=half))
    assert told.personalization.status.progress == half
    nothing_new = replace(told, progress=None)
    assert reconcile(nothing_new).status == told.personalization.status
    next_pod = replace(nothing_new, pods=(a_pod(unschedulable="0/3 nodes"),))
    decision = reconcile(next_pod)
    assert decision.status is not None
    assert decision.status.progress is None


QUEUED = a_job(profile=a_profile(queueName="gpus"))
FULL = ("QuotaReserved", "False", "Pending", "insufficient unused quota for nvidia.com/gpu")
PREEMPTED = ("Evicted", "True", "Preempted", "Preempted to accommodate a workload")


def test_kueue_alone_starts_a_queued_job() -> None:
    assert QUEUED.suspended
    assert reconcile(an_observation(None, QUEUED)) == Decision(question=Question.WORKLOADS)
    decision = reconcile(an_observation(None, QUEUED, workloads=(a_workload(FULL),)))
    assert decision.action is None
    assert state(decision) == "Waiting"
    assert conditions(decision)["Waiting"] == ("True", "Pending")


def test_a_job_that_kueue_admits_at_once_never_says_that_it_waited() -> None:
    decision = reconcile(an_observation(None, a_job(profile=a_profile(queueName="gpus"), age_seconds=1)))
    assert decision.status is None
    assert decision.requeue_after_seconds is not None


def test_kueue_is_asked_again_the_more_seldom_the_longer_it_lasts() -> None:
    fresh = an_observation(None, QUEUED, workloads=(a_workload(FULL),))
    waits = replace(written(fresh), workloads=(a_workload(FULL),))
    pauses = [
        reconcile(replace(waits, now=NOW + timedelta(seconds=later))).requeue_after_seconds for later in (0, 60, 7200)
    ]
    assert pauses == [3.0, 60.0, 300.0]


def test_a_preemption_by_kueue_is_an_attempt_that_counts_against_nobody() -> None:
    before = written(an_observation(None, a_job(), a_pod("Running"))).personalization
    taken = an_observation(before, QUEUED, workloads=(a_workload(FULL, PREEMPTED),))
    decision = reconcile(taken)
    assert decision.action is None
    assert state(decision) == "Waiting"
    assert conditions(decision)["Running"] == ("False", "PodPending")
    assert decision.status is not None
    assert [(attempt.pod, attempt.reason) for attempt in decision.status.attempts] == [(QUEUED.name, "Preempted")]
    again = written(taken)
    assert reconcile(again).status == again.personalization.status


def test_what_kueue_takes_back_before_a_pod_ran_is_no_attempt() -> None:
    decision = reconcile(an_observation(None, QUEUED, workloads=(a_workload(PREEMPTED),)))
    assert decision.status is not None
    assert decision.status.attempts == []


def test_suspending_a_queued_one_deletes_its_job_without_counting_it() -> None:
    queued = a_job(profile=a_profile(queueName="gpus"))
    wanted = a_personalization({"suspend": True}, KNOWS_JOB)
    assert reconcile(an_observation(wanted, queued)).action == DeleteJob(queued)
    decision = reconcile(an_observation(wanted))
    assert decision.status is not None
    assert decision.status.attempts == []
    assert decision.status.job_ref is None


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        ({"activeDeadlineSeconds": 60}, {"activeDeadlineSeconds": 60}),
        ({"ttlSecondsAfterFinished": 600}, {"ttlSecondsAfterFinished": 600}),
        ({"ttlSecondsAfterFinished": 0}, {"ttlSecondsAfterFinished": 60}),
    ],
)
def test_what_may_change_reaches_the_job(spec: dict[str, int], change: dict[str, int]) -> None:
    wanted = an_observation(a_personalization(spec), a_job(), profile=a_profile())
    assert reconcile(wanted).action == PatchJob(a_job(), change)
    assert reconcile(replace(wanted, profile=None)) == Decision(question=Question.PROFILE)


def test_an_edit_beyond_the_profiles_limit_leaves_the_job_and_is_told() -> None:
    profile = a_profile(limits={"activeDeadlineSeconds": 3600})
    beyond = a_personalization({"activeDeadlineSeconds": 7200})
    pod = a_pod("Running")
    decision = reconcile(an_observation(beyond, a_job(), pod, profile=profile))
    assert decision.action is None
    assert decision.status is not None
    (accepted,) = [each for each in decision.status.conditions if each.type == "Accepted"]
    assert "spec.activeDeadlineSeconds is 7200; the profile's limit is 3600" in accepted.message
    assert "the Job keeps what it has" in accepted.message


def test_a_time_beyond_the_profiles_limit_waits_for_an_edit() -> None:
    profile = a_profile(limits={"ttlSecondsAfterFinished": 600})
    decision = reconcile(an_observation(a_personalization({"ttlSecondsAfterFinished": 601}), profile=profile))
    assert state(decision) == "Waiting"
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert decision.status.waiting.reason == "LimitExceeded"
    assert "set spec.ttlSecondsAfterFinished to 600 or less" in decision.status.waiting.message
    edited = an_observation(a_personalization({"ttlSecondsAfterFinished": 600}), profile=profile)
    assert isinstance(reconcile(edited).action, CreateJob)


def test_who_is_not_admitted_waits() -> None:
    refusal = Refusal(Reason.PROFILE_NOT_ALLOWED, "TuningProfile sd15 does not admit namespace shop")
    decision = reconcile(an_observation(profile=refusal))
    assert state(decision) == "Waiting"
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert "allowedNamespaces" in decision.status.waiting.next_step


def test_a_running_pod_makes_it_running() -> None:
    decision = reconcile(an_observation(None, a_job(), a_pod("Running")))
    assert conditions(decision) == {
        "Running": ("True", "PodStarted"),
        "Accepted": ("True", "ProfileMatched"),
        "EncoderUsed": ("False", "NoEncoder"),
    }
    assert decision.status is not None
    assert decision.status.start_time == "2026-11-23T11:00:00Z"
    assert decision.status.waiting is None


def test_a_pod_that_does_not_end_when_it_should_is_not_called_running() -> None:
    def told_to_end(seconds_ago: float) -> PersonalizationDecision:
        due = timestamp(NOW - timedelta(seconds=seconds_ago))
        return reconcile(an_observation(None, a_job(), a_pod("Running", name="lost", deletion_timestamp=due)))

    in_time, late = told_to_end(seconds_ago=10), told_to_end(seconds_ago=31)
    assert state(in_time) == "Running"
    assert in_time.requeue_after_seconds == OVERDUE_SECONDS - 10
    assert conditions(late)["Waiting"] == ("True", "StillRunning")
    assert late.status is not None
    assert late.status.waiting is not None
    assert "pod lost should have ended" in late.status.waiting.message
    assert "delete the Node" in late.status.waiting.next_step


def test_a_prompt_without_the_token_is_a_warning() -> None:
    spec = {"previews": [{"prompt": "a teapot on a beach"}]}
    decision = reconcile(an_observation(a_personalization(spec), a_job(spec=spec), a_pod("Running")))
    assert conditions(decision)["TokenInPrompts"] == ("False", "TokenMissing")
    assert state(decision) == "Running"


@pytest.mark.parametrize(
    ("of_job", "pod", "expected_state"),
    [
        pytest.param([], a_pod(unschedulable="no GPU"), "Waiting", id="waiting"),
        pytest.param([], a_pod("Running"), "Running", id="running"),
        pytest.param(["Complete"], a_pod(exit_code=0, message=TUNED), "Succeeded", id="succeeded"),
        pytest.param(["Failed"], a_pod(exit_code=1), "Failed", id="failed"),
    ],
)
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param(a_profile(), ("False", "NoEncoder"), id="no encoder"),
        pytest.param(a_profile(encoder={"uri": "file:///models/e"}), ("True", "EncoderNamed"), id="an encoder"),
    ],
)
def test_whether_an_encoder_is_used_is_said_with_whatever_else_is_said(
    profile: Profile, expected: tuple[str, str], of_job: list[str], pod: Pod, expected_state: str
) -> None:
    decision = reconcile(an_observation(None, a_job(*of_job, profile=profile), pod))
    assert conditions(decision)["EncoderUsed"] == expected
    assert state(decision) == expected_state


def test_one_that_gets_no_job_uses_no_encoder_and_is_not_warned_about_it() -> None:
    decision = reconcile(an_observation(a_personalization({"tuning": {"steps": 9999}})))
    assert "EncoderUsed" not in conditions(decision)


@pytest.mark.parametrize(
    ("job", "pods"),
    [
        pytest.param(a_job(age_seconds=1), [], id="a job just created"),
        pytest.param(a_job(age_seconds=1), [a_pod()], id="a pod just created"),
        pytest.param(a_job(), [a_pod(exit_code=0, message=TUNED)], id="a pod that succeeded"),
        pytest.param(a_job(), [a_pod(exit_code=12)], id="a pod that will not be retried"),
        pytest.param(a_job(), [a_pod(exit_code=20, ended_seconds_ago=1)], id="a pod that just failed"),
    ],
)
def test_what_passes_by_itself_is_worth_no_write(job: object, pods: list[object]) -> None:
    decision = reconcile(an_observation(None, job, *pods))  # type: ignore[arg-type]
    assert decision.status is None
    assert decision.action is None
    assert decision.requeue_after_seconds is not None
    assert 0 < decision.requeue_after_seconds <= 3


def test_pending_says_what_it_waits_for() -> None:
    decision = reconcile(an_observation(None, a_job(), a_pod(unschedulable="0/3 nodes are available")))
    assert conditions(decision) == {
        "Waiting": ("True", "Unschedulable"),
        "Accepted": ("True", "ProfileMatched"),
        "EncoderUsed": ("False", "NoEncoder"),
    }
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert decision.status.waiting.message == "0/3 nodes are available"


PODS = st.lists(
    st.builds(
        a_pod,
        st.sampled_from(["Pending", "Running", "Unknown"]),
        name=st.sampled_from(["p1", "p2", "p3"]),
        exit_code=st.none() | st.sampled_from([0, 1, 10, 14, 20, 137, 143]),
        message=st.sampled_from(["", "{", TUNED, a_result(Reason.SOURCE_NOT_FOUND)]),
        reason=st.sampled_from(["Error", "OOMKilled", "Completed"]),
        disruption=st.none() | st.just("PreemptionByScheduler"),
        waiting=st.none() | st.just(("ImagePullBackOff", "no")),
        ended_seconds_ago=st.sampled_from([0, 60]),
        deletion_timestamp=st.none() | st.sampled_from([timestamp(NOW), timestamp(NOW - timedelta(minutes=1))]),
    ),
    max_size=3,
)
JOBS = st.none() | st.builds(
    a_job,
    st.sampled_from(["Complete", "Failed", "FailureTarget", "Suspended"]),
    reason=st.sampled_from(["", "DeadlineExceeded", "PodFailurePolicy"]),
    uid=st.sampled_from([JOB_UID, "another"]),
    age_seconds=st.sampled_from([0, 60]),
)
OWNERS = st.builds(
    a_personalization,
    st.sampled_from([{}, {"suspend": True}, {"output": "s3://no"}, {"previews": [{"prompt": "no token"}]}]),
    st.sampled_from([None, KNOWS_JOB]),
)


def test_why_a_job_has_no_pod_is_asked_for_less_and_less_often() -> None:
    assert reconcile(an_observation(None, a_job())) == Decision(question=Question.POD_REFUSAL)

    def again(age_seconds: float) -> float | None:
        return reconcile(an_observation(None, a_job(age_seconds=age_seconds), pod_refusal="no")).requeue_after_seconds

    assert [again(age) for age in (5, 60, 10_000)] == [5, 60, 300]


@hypothesis_given(OWNERS, JOBS, PODS)
def test_every_observation_gets_a_decision_and_the_decision_is_stable(
    owner: object, job: object, pods: list[object]
) -> None:
    observation = an_observation(owner, job, *pods)  # type: ignore[arg-type]
    decision = reconcile(observation)
    if decision.status is None or decision.action is not None:
        return
    written = PersonalizationStatus.model_validate(decision.status.to_json())
    assert written == decision.status
    again = reconcile(replace(observation, personalization=replace(observation.personalization, status=written)))
    assert replace(again, needs_fresh=decision.needs_fresh) == decision, (
        "writing the status must not lead to another status"
    )


def test_the_clock_is_an_argument() -> None:
    late = replace(an_observation(None, a_job(age_seconds=0), pod_refusal=""), now=NOW.replace(hour=13))
    assert reconcile(late).status is not None


LIMITED = a_profile(maxConcurrent=2)


def test_one_whose_turn_it_is_not_waits_and_says_for_what() -> None:
    decision = reconcile(an_observation(profile=LIMITED, slot=False))
    assert decision.action is None
    assert conditions(decision) == {
        "Waiting": ("True", "ConcurrencyLimit"),
        "Accepted": ("True", "ProfileMatched"),
    }
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert "lets 2 run at once in namespace shop" in decision.status.waiting.message
    assert "maxConcurrent" in decision.status.waiting.next_step


def test_one_that_would_be_refused_hears_that_before_its_turn() -> None:
    greedy = a_personalization({"tuning": {"steps": 9999}})
    assert state(reconcile(an_observation(greedy, profile=LIMITED, slot=False))) == "Failed"


def test_one_that_is_resumed_waits_for_its_turn_like_any_other() -> None:
    paused = replace(a_job(), suspended=True)
    assert state(reconcile(an_observation(None, paused, profile=LIMITED, slot=False))) == "Waiting"
    action = reconcile(an_observation(None, paused, profile=LIMITED)).action
    assert action == PatchJob(paused, {"suspend": False})
