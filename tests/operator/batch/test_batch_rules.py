"""The decision table of a batch, rule by rule. The whole path is in test_batch_lifecycle.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.operator.batch.batch_given import (
    ACCEPTED,
    ALL_DONE,
    COLLECTED,
    COLLECTOR,
    PLANNED,
    PLANNER,
    a_batch,
    a_batch_job,
    a_manifest,
    a_reported,
    a_status,
    a_worker,
    all_done,
    all_reported,
    an_observation,
    at_work,
    built,
    conditions,
    crashed,
    made,
    pod_of,
    reconcile,
    rule_of,
    status_of,
)

from given import NOW, a_profile
from likeness_api.accept import Refusal
from likeness_api.batch_result import BatchResult
from likeness_api.field import Condition, timestamp
from likeness_api.personalization import Waiting
from likeness_api.personalization_batch import (
    BatchEstimate,
    BatchPlanStatus,
    Counts,
    FailureSample,
    PassProgress,
    PersonalizationBatchStatus,
    Shards,
)
from likeness_api.reason import Reason
from likeness_operator.batch import rules
from likeness_operator.batch.facts import Batch, is_batch_done, is_batch_finished, lacks_finalizer, read_batch
from likeness_operator.batch.job import JobPlace, Role, batch_job_name
from likeness_operator.batch.observation import BatchObservation
from likeness_operator.batch.rules import FRUITLESS_ENDS, MOST_COLLECTIONS, TRY_AGAIN_SECONDS
from likeness_operator.batch.worker_end import fruitless_ends, job_verdict
from likeness_operator.engine.decision import AddFinalizer, CreateJob, Decision, DeleteJob, Question
from likeness_operator.kubernetes.label import FINALIZER

DELETE: dict[str, Any] = {"deletionPolicy": "Delete"}
GOING: dict[str, Any] = {"deletionTimestamp": timestamp(NOW)}
TWO_PASSES: dict[str, Any] = {"passes": [6, 12]}
SECOND_PASS = [PassProgress(steps=6, done=100), PassProgress(steps=12)]


def name(role: Role, number: int) -> str:
    return batch_job_name(a_batch(), JobPlace(role, number))


def a_planner(*conditions: str, **more: Any) -> Any:
    return a_batch_job(PLANNER, *conditions, **more)


def a_collector(number: int = 0, *conditions: str, **more: Any) -> Any:
    return a_batch_job(JobPlace(Role.COLLECTOR, number), *conditions, **more)


def planned(result: BatchResult | str = PLANNED, batch: Batch | None = None, **more: Any) -> BatchObservation:
    """The planner has ended well."""
    job = a_planner("Complete")
    return an_observation(batch or a_batch(status=ACCEPTED), (job, pod_of(job, exit_code=0, message=result)), **more)


def collected(result: BatchResult | str = COLLECTED, number: int = 0, **more: Any) -> BatchObservation:
    """All is done, and the collector has ended well."""
    job = a_collector(number, "Complete")
    return all_done((job, pod_of(job, exit_code=0, message=result)), **more)


def written(observation: BatchObservation, spec: dict[str, Any] | None = None, **metadata: Any) -> BatchObservation:
    """The same, once the decision's status was written, and maybe the spec edited."""
    return replace(observation, batch=a_batch(spec, status_of(reconcile(observation)), **metadata))


# The profile, the finalizer and the first Job


def test_first_it_is_asked_for_a_profile() -> None:
    assert reconcile(an_observation(profile=None)) == Decision(question=Question.PROFILE)


def test_it_is_said_to_be_accepted_before_there_is_a_job() -> None:
    decision = reconcile(an_observation())
    assert conditions(decision) == {"Accepted": ("True", "ProfileMatched")}
    assert (status_of(decision).profile, status_of(decision).revision) == ("sd15", 1)
    assert made(reconcile(written(an_observation()))).name == name(Role.PLANNER, 0)


def test_the_finalizer_is_there_before_the_first_job() -> None:
    new = an_observation(a_batch(DELETE))
    assert conditions(reconcile(new)) == {"Accepted": ("True", "ProfileMatched")}
    assert reconcile(written(new, DELETE)) == Decision(action=AddFinalizer())
    with_it = an_observation(a_batch(DELETE, finalizers=[FINALIZER]))
    assert isinstance(reconcile(written(with_it, DELETE, finalizers=[FINALIZER])).action, CreateJob)


def test_one_that_is_retained_gets_no_finalizer() -> None:
    assert isinstance(reconcile(an_observation(a_batch(status=ACCEPTED))).action, CreateJob)


@pytest.mark.parametrize("status", [a_status(), a_status(revision=3)], ids=["this revision", "another revision"])
def test_a_finalizer_that_somebody_took_off_comes_back(status: PersonalizationBatchStatus) -> None:
    observation = an_observation(a_batch(DELETE, status))
    assert rule_of(observation) is rules.batch_finalizer_missing
    assert reconcile(observation) == Decision(action=AddFinalizer())


def test_a_finished_one_that_lost_its_finalizer_is_not_done() -> None:
    end = written(collected()).batch.written
    assert not is_batch_done(a_manifest(DELETE, end))
    assert is_batch_done(a_manifest(DELETE, end, finalizers=[FINALIZER]))
    assert is_batch_done(a_manifest({}, end))
    assert lacks_finalizer(a_batch(DELETE, end))


def test_one_that_is_being_deleted_is_done_without_our_finalizer() -> None:
    assert is_batch_done(a_manifest(DELETE, a_status(), **GOING))
    assert not is_batch_done(a_manifest(DELETE, a_status(), finalizers=[FINALIZER], **GOING))


@pytest.mark.parametrize(
    ("spec", "more", "reason"),
    [
        pytest.param({}, {"profile": Refusal(Reason.PROFILE_NOT_FOUND, "none")}, "ProfileNotFound", id="no profile"),
        pytest.param({"passes": [1000]}, {}, "LimitExceeded", id="too many steps"),
        pytest.param({"priorityClassName": "first"}, {}, "LimitExceeded", id="no such priority"),
        pytest.param({"passes": [0, 12]}, {}, "NoEncoder", id="nothing to predict with"),
        pytest.param({"source": {"manifest": "s3://elsewhere/x"}}, {}, "BucketNotAllowed", id="elsewhere"),
        pytest.param({"workers": {"min": 3, "max": 1}}, {}, "InvalidSpec", id="more than most"),
        pytest.param({"somethingNew": 1}, {}, "InvalidSpec", id="unknown field"),
        pytest.param({}, {"progress_url": None}, "ReportsOff", id="no reports"),
    ],
)
def test_what_can_be_corrected_is_said_and_waited_for(spec: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    decision = reconcile(an_observation(a_batch(spec), **more))
    assert conditions(decision) == {"Waiting": ("True", reason), "Accepted": ("False", reason)}
    waiting = status_of(decision).waiting
    assert waiting is not None
    assert waiting.reason == reason
    assert waiting.next_step


def test_a_spec_that_cannot_be_read_is_decided_before_all_that_reads_it() -> None:
    observation = an_observation(a_batch({"workers": 7}, a_status()), a_worker(0))
    assert rule_of(observation) is rules.batch_unreadable
    message = status_of(reconcile(observation)).conditions[0].message
    assert message.startswith("spec.workers")


def test_one_that_was_corrected_goes_on() -> None:
    refused = written(an_observation(a_batch({"passes": [1000]})))
    decision = reconcile(refused)
    assert conditions(decision)["Accepted"] == ("True", "ProfileMatched")


def test_without_reports_no_job_is_made() -> None:
    assert rule_of(an_observation(a_batch(status=ACCEPTED), progress_url=None)) is rules.reports_off


def test_what_the_api_server_says_of_a_job_is_passed_on() -> None:
    refusal = Waiting(reason="QuotaExceeded", message="exceeded quota", next_step="wait")
    observation = an_observation(a_batch(status=ACCEPTED), job_refusal=refusal)
    assert rule_of(observation) is rules.batch_job_refused
    assert conditions(reconcile(observation)) == {"Waiting": ("True", "QuotaExceeded")}
    assert status_of(reconcile(observation)).waiting == refusal


# Revisions, foreign Jobs, suspension


def test_a_new_revision_ends_the_former_ones_jobs() -> None:
    running, ended = a_worker(0), a_worker(1, "Complete")
    observation = an_observation(a_batch({"revision": 2}, a_status()), ended, running)
    assert rule_of(observation) is rules.jobs_of_another_revision
    assert reconcile(observation) == Decision(action=DeleteJob(running))
    assert conditions(reconcile(replace(observation, jobs=(ended,)))) == {"Accepted": ("True", "ProfileMatched")}


def test_a_new_revision_begins_with_nothing() -> None:
    end = written(collected()).batch.written
    status = status_of(reconcile(an_observation(a_batch({"revision": 2}, end))))
    assert (status.revision, status.plan, status.shards, status.counts.total) == (2, None, None, 0)
    assert [condition.type for condition in status.conditions] == ["Accepted"]


def test_a_former_revisions_job_on_its_way_out_is_not_deleted_again() -> None:
    observation = an_observation(a_batch({"revision": 2}), a_worker(0, **GOING))
    assert reconcile(observation).action is None


def test_somebody_elses_job_of_our_name_is_left_alone_and_told() -> None:
    foreign = a_planner(annotations={})
    observation = an_observation(a_batch(status=ACCEPTED), foreign)
    assert rule_of(observation) is rules.job_name_taken
    assert conditions(reconcile(observation)) == {"Waiting": ("True", "JobNameTaken")}
    waiting = status_of(reconcile(observation)).waiting
    assert waiting is not None
    assert foreign.name in waiting.message


def test_a_suspended_batch_ends_all_its_jobs_and_forgets_what_failed() -> None:
    failed, working = crashed(0), a_worker(1)
    observation = at_work(failed, working, spec={"suspend": True})
    assert rule_of(observation) is rules.batch_suspended
    assert reconcile(observation) == Decision(action=DeleteJob(failed[0]))
    assert reconcile(replace(observation, jobs=(working,))) == Decision(action=DeleteJob(working))
    decision = reconcile(replace(observation, jobs=(a_worker(1, **GOING),)))
    assert conditions(decision) == {"Suspended": ("True", "Suspended")}


def test_a_suspended_batch_keeps_what_is_done() -> None:
    status = a_status(shards=Shards(total=4, done="0-1", succeeded=50), counts=Counts(total=100, succeeded=50))
    suspended = status_of(reconcile(at_work(status=status, spec={"suspend": True}, reported=None)))
    assert (suspended.shards, suspended.counts.succeeded) == (status.shards, 50)


def test_one_that_is_suspended_from_the_start_has_no_job() -> None:
    assert conditions(reconcile(an_observation(a_batch({"suspend": True}), profile=None))) == {
        "Suspended": ("True", "Suspended")
    }


def test_one_that_is_resumed_says_so() -> None:
    suspended = status_of(reconcile(at_work(spec={"suspend": True}, reported=None)))
    worker = a_worker(0)
    decision = reconcile(at_work((worker, pod_of(worker)), status=suspended, workers_wanted=1))
    assert conditions(decision) == {"Suspended": ("False", "Resumed"), "Running": ("True", "Working")}


# Reading the source


def test_the_planner_is_seen_at_work() -> None:
    job = a_planner(age_seconds=100)
    decision = reconcile(an_observation(a_batch(status=ACCEPTED), (job, pod_of(job))))
    assert conditions(decision) == {"Running": ("True", "ReadingSource")}
    assert status_of(decision).start_time == timestamp(NOW)


def test_a_planner_that_starts_is_worth_no_word_and_one_that_cannot_start_is() -> None:
    young, old = a_planner(age_seconds=10), a_planner(age_seconds=100)
    assert reconcile(an_observation(a_batch(status=ACCEPTED), young)) == Decision(requeue_after_seconds=20)
    stuck = (old, pod_of(old, "Pending", unschedulable="0/3 nodes are available"))
    assert conditions(reconcile(an_observation(a_batch(status=ACCEPTED), stuck))) == {
        "Waiting": ("True", "Unschedulable")
    }


def test_between_two_tries_of_the_planner_nothing_is_said() -> None:
    job = a_planner()
    decision = reconcile(an_observation(a_batch(status=ACCEPTED), (job, pod_of(job, exit_code=20))))
    assert (decision.action, decision.status) == (None, None)
    assert decision.requeue_after_seconds


def test_what_the_source_came_to_is_written_down() -> None:
    sample = FailureSample(reason="InvalidLine", count=5, message="line 7")
    result = PLANNED.model_copy(
        update={"lines": 120, "planned": 100, "skipped": 15, "failed": 5, "removed": 2, "failures": [sample]}
    )
    status = status_of(reconcile(planned(result)))
    assert status.plan == BatchPlanStatus(lines=120, subjects=100, skipped=15, failed=5, removed=2)
    assert status.counts == Counts(total=120, skipped=15, failed=5, pending=100)
    assert (status.passes, status.shards) == ([PassProgress(steps=12)], Shards(total=4))
    assert status.failures == [sample]
    assert conditions(reconcile(planned(result)))["Planned"] == ("True", "Planned")


@pytest.mark.parametrize(
    ("pod", "condition", "reason"),
    [
        pytest.param({"exit_code": 10, "message": BatchResult(reason=Reason.SOURCE_NOT_FOUND, message="no such key")},
                     "BackoffLimitExceeded", "SourceNotFound", id="its own words"),
        pytest.param({"exit_code": 1, "message": "Traceback"}, "BackoffLimitExceeded", "RuntimeCrashed", id="noise"),
        pytest.param({"exit_code": 137, "reason": "OOMKilled"}, "BackoffLimitExceeded", "OutOfMemory", id="memory"),
        pytest.param({"exit_code": 20}, "DeadlineExceeded", "DeadlineExceeded", id="took too long"),
        pytest.param(None, "BackoffLimitExceeded", "RetriesExhausted", id="its pods are gone"),
    ],
)  # fmt: skip
def test_a_batch_whose_source_cannot_be_read_fails(pod: dict[str, Any] | None, condition: str, reason: str) -> None:
    job = a_planner("Failed", reason=condition)
    ended = (job, pod_of(job, **pod)) if pod else job
    decision = reconcile(an_observation(a_batch(status=ACCEPTED), ended))
    assert conditions(decision) == {"Failed": ("True", reason)}
    assert status_of(decision).completion_time == timestamp(NOW)


def test_a_result_that_cannot_be_read_is_not_believed() -> None:
    for noise in ("", "noise", '{"reason": "Planned", "message": "", "shards": 100001}'):
        assert conditions(reconcile(planned(noise)))["Failed"] == ("True", "ResultInvalid")


def test_a_result_that_contradicts_its_exit_code_is_not_believed() -> None:
    contradiction = BatchResult(reason=Reason.SOURCE_NOT_FOUND, message="there is no such file")
    assert conditions(reconcile(planned(contradiction)))["Failed"][0] == "True"


def test_a_plan_whose_pod_is_gone_is_made_again() -> None:
    gone = a_planner("Complete")
    assert reconcile(an_observation(a_batch(status=ACCEPTED), gone)) == Decision(action=DeleteJob(gone))
    going = a_planner("Complete", **GOING)
    assert reconcile(an_observation(a_batch(status=ACCEPTED), going)) == Decision()


def test_only_its_own_pods_speak_for_a_job() -> None:
    job, other = a_planner("Complete"), a_planner("Complete", uid="another")
    observation = an_observation(a_batch(status=ACCEPTED), job, pods=(pod_of(other, exit_code=0, message=PLANNED),))
    assert reconcile(observation) == Decision(action=DeleteJob(job))


# Plan mode


def test_in_plan_mode_it_ends_once_the_source_is_read() -> None:
    plan = {"mode": "Plan"}
    read = planned(batch=a_batch(plan, ACCEPTED))
    assert status_of(reconcile(read)).plan is not None
    decision = reconcile(written(read, plan))
    assert rule_of(written(read, plan)) is rules.only_planned
    assert conditions(decision)["Succeeded"] == ("True", "Planned")
    assert (status_of(decision).results, status_of(decision).report) == (None, None)
    assert is_batch_finished(a_manifest(plan, status_of(decision)))


def test_a_plan_says_what_it_will_take_and_cost() -> None:
    plan = {"mode": "Plan", "workers": {"max": 4}}
    measured = planned(PLANNED.model_copy(update={"seconds_each": 90.0}), a_batch(plan, ACCEPTED), profile=None)
    assert reconcile(measured).question is Question.PROFILE  # it knows the price
    priced = replace(measured, profile=a_profile(pricePerWorkerHour="2.50 EUR"))
    assert status_of(reconcile(priced)).estimate == BatchEstimate(gpu_seconds=9000, seconds=2250, price="6.25 EUR")
    end = status_of(reconcile(written(priced, plan))).conditions[0]
    assert "2.5 hours of workers, 6.25 EUR, 0.6 hours with 4 of them" in end.message
    free = status_of(reconcile(replace(measured, profile=a_profile()))).estimate
    assert free == BatchEstimate(gpu_seconds=9000, seconds=2250)


def test_a_plan_that_measured_nothing_estimates_nothing() -> None:
    assert status_of(reconcile(planned(batch=a_batch({"mode": "Plan"}, ACCEPTED)))).estimate is None


def test_a_planner_that_kueue_has_not_admitted_waits_for_its_turn() -> None:
    queued = replace(a_planner(), suspended=True)
    waiting = status_of(reconcile(an_observation(a_batch({"mode": "Plan"}, ACCEPTED), queued))).waiting
    assert waiting is not None
    assert waiting.reason == Reason.QUEUED


def test_what_was_planned_is_worked_on_once_that_is_wanted() -> None:
    plan = {"mode": "Plan"}
    end = status_of(reconcile(an_observation(a_batch(plan, a_status()), reported=a_reported())))
    assert not is_batch_finished(a_manifest(status=end))
    run = at_work(status=end)
    assert run.status.completion_time is None
    assert made(reconcile(run)).name == name(Role.WORKER, 0)


def test_what_was_run_does_not_run_again_in_plan_mode() -> None:
    end = written(collected()).batch.written
    assert is_batch_finished(a_manifest({"mode": "Plan"}, end))


# Passes


def test_after_a_pass_comes_the_next() -> None:
    through = all_done(spec=TWO_PASSES, status=a_status(passes=[PassProgress(steps=6)], shards=ALL_DONE))
    assert rule_of(through) is rules.pass_done
    status = status_of(reconcile(through))
    assert (status.shards, [each.steps for each in status.passes]) == (None, [6])
    assert (status.counts.succeeded, status.counts.failed) == (97, 3)
    sorting = an_observation(a_batch(TWO_PASSES, status))
    assert made(reconcile(sorting)).name == name(Role.PLANNER, 1)


def test_the_next_passs_planner_is_told_which_pass_it_is() -> None:
    observation = an_observation(a_batch(TWO_PASSES, a_status(passes=[PassProgress(steps=6)], shards=None)))
    action = reconcile(observation).action
    assert isinstance(action, CreateJob)
    (container,) = action.manifest["spec"]["template"]["spec"]["containers"]
    orders = [variable["value"] for variable in container["env"] if variable["name"] == "LIKENESS_ORDER"]
    assert '"passIndex":1' in orders[0]


def test_it_says_what_a_planner_is_at() -> None:
    said = []
    for number, status in enumerate((ACCEPTED, a_status(passes=[PassProgress(steps=6)], shards=None))):
        job = a_batch_job(JobPlace(Role.PLANNER, number))
        observation = an_observation(a_batch(TWO_PASSES, status), (job, pod_of(job)))
        said.append(status_of(reconcile(observation)).conditions[0].message)
    assert "reads the source" in said[0]
    assert "sorts the subjects for the pass of 12 steps" in said[1]


def test_a_later_plan_adds_a_pass_and_leaves_the_first_ones_numbers() -> None:
    before = a_status(
        passes=[PassProgress(steps=6, done=100)], shards=None, counts=Counts(total=100, succeeded=97, failed=3)
    )
    job = a_batch_job(JobPlace(Role.PLANNER, 1), "Complete")
    sorted_ = PLANNED.model_copy(update={"lines": 0, "planned": 97, "shards": 9})
    ended = (job, pod_of(job, exit_code=0, message=sorted_))
    status = status_of(reconcile(an_observation(a_batch(TWO_PASSES, before), ended)))
    assert status.passes == SECOND_PASS
    assert (status.shards, status.plan, status.counts) == (Shards(total=9), before.plan, before.counts)


def test_workers_stay_between_two_passes() -> None:
    through = all_done(a_worker(0), spec=TWO_PASSES, status=a_status(passes=[PassProgress(steps=6)], shards=ALL_DONE))
    assert reconcile(through).action is None
    assert made(reconcile(replace(written(through, TWO_PASSES), reported=None))).name == name(Role.PLANNER, 1)


def due(hours: float, **more: Any) -> dict[str, Any]:
    return {"completeBy": timestamp(NOW + timedelta(hours=hours)), **more}


def test_complete_by_cuts_off_a_later_pass() -> None:
    status = a_status(passes=SECOND_PASS)
    late = at_work(a_worker(0), spec=due(-1) | TWO_PASSES, status=status)
    assert rule_of(late) is rules.collecting
    assert reconcile(late) == Decision(action=DeleteJob(a_worker(0)))
    action = reconcile(replace(late, jobs=())).action
    assert isinstance(action, CreateJob)
    (container,) = action.manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["collect", "--unfinished"]


def test_before_complete_by_a_later_pass_goes_on() -> None:
    status = a_status(passes=SECOND_PASS)
    assert rule_of(at_work(a_worker(0), spec=due(1) | TWO_PASSES, status=status)) is rules.worker_missing


def test_complete_by_does_not_cut_off_the_first_pass() -> None:
    assert rule_of(at_work(a_worker(0), spec=due(-1))) is rules.worker_missing


def test_a_pass_that_was_cut_off_ends_well() -> None:
    job = a_collector(0, "Complete", unfinished=True)
    late = at_work(
        (job, pod_of(job, exit_code=0, message=COLLECTED)),
        spec=due(-1) | TWO_PASSES,
        status=a_status(passes=SECOND_PASS),
    )
    assert conditions(reconcile(late)) == {"Succeeded": ("True", "Finished")}


# Workers


def test_workers_are_made_one_after_the_other_and_numbered_on() -> None:
    assert made(reconcile(at_work())).name == name(Role.WORKER, 0)
    assert made(reconcile(at_work(a_worker(0)))).name == name(Role.WORKER, 1)
    ended = a_worker(7, "Complete")
    assert made(reconcile(at_work(a_worker(0), ended))).name == name(Role.WORKER, 8)


def test_no_more_workers_are_made_than_are_wanted() -> None:
    assert rule_of(at_work(a_worker(0), a_worker(1))) is rules.working


@pytest.mark.parametrize(
    "gone",
    [pytest.param(a_worker(1, **GOING), id="on its way out"), pytest.param(a_worker(1, "Complete"), id="released"),
     pytest.param(a_worker(1, "FailureTarget"), id="fails")],
)  # fmt: skip
def test_a_worker_that_ends_is_replaced(gone: Any) -> None:
    assert made(reconcile(at_work(a_worker(0), gone))).name == name(Role.WORKER, 2)


def test_a_worker_is_replaced_whose_profile_is_looked_up_anew() -> None:
    assert reconcile(at_work(profile=None)) == Decision(question=Question.PROFILE)
    refused = reconcile(at_work(profile=Refusal(Reason.PROFILE_NOT_FOUND, "none")))
    assert conditions(refused)["Accepted"] == ("False", "ProfileNotFound")


def test_another_profile_of_the_batch_is_written_down_before_it_is_used() -> None:
    decision = reconcile(at_work(profile=a_profile("sdxl")))
    assert status_of(decision).profile == "sdxl"


def test_the_newest_worker_without_a_place_to_run_is_not_needed_there() -> None:
    running = [a_worker(number) for number in (0, 3)]
    waiting = [a_worker(number) for number in (1, 2)]
    observation = at_work(
        *[(job, pod_of(job)) for job in running], *[(job, pod_of(job, "Pending")) for job in waiting], workers_wanted=1
    )
    assert rule_of(observation) is rules.worker_unwanted
    assert reconcile(observation) == Decision(action=DeleteJob(waiting[1]))


def test_a_worker_that_works_is_released_by_the_answer_to_its_report_and_not_deleted() -> None:
    workers = [a_worker(number) for number in range(3)]
    observation = at_work(*[(job, pod_of(job)) for job in workers], workers_wanted=1)
    assert rule_of(observation) is rules.working


def test_workers_are_seen_at_work() -> None:
    workers = [a_worker(number) for number in range(2)]
    decision = reconcile(at_work((workers[0], pod_of(workers[0])), workers[1]))
    assert conditions(decision) == {"Running": ("True", "Working")}
    status = status_of(decision)
    assert (status.workers, status.workers_wanted, status.start_time) == (1, 2, timestamp(NOW))
    assert decision.requeue_after_seconds == 30


def test_workers_that_start_are_worth_no_word_and_those_that_cannot_start_are() -> None:
    young = at_work(a_worker(0, age_seconds=10), workers_wanted=1)
    assert reconcile(young) == Decision(requeue_after_seconds=20)
    old = a_worker(0, age_seconds=100)
    stuck = at_work((old, pod_of(old, "Pending", unschedulable="0/3 nodes are available")), workers_wanted=1)
    assert conditions(reconcile(stuck)) == {"Waiting": ("True", "Unschedulable")}


def test_workers_that_kueue_keeps_waiting_say_so_at_once() -> None:
    queued = a_worker(0, profile=a_profile(queueName="gpus"), age_seconds=1)
    assert conditions(reconcile(at_work(queued, workers_wanted=1))) == {"Waiting": ("True", "Queued")}


def test_one_that_ran_and_waits_again_does_not_run() -> None:
    worker = a_worker(0)
    before = status_of(reconcile(at_work((worker, pod_of(worker)), workers_wanted=1)))
    decision = reconcile(at_work((worker, pod_of(worker, "Pending")), status=before, workers_wanted=1))
    assert conditions(decision) == {"Running": ("False", "PodPending"), "Waiting": ("True", "Starting")}


# The circuit breaker


def failing(count: int = FRUITLESS_ENDS, *, newest: float = 10, **more: Any) -> BatchObservation:
    """So many workers have failed, the newest so many seconds ago."""
    message = BatchResult(reason=Reason.STORAGE_UNAVAILABLE, message="no answer")
    ends = [
        crashed(number, seconds_ago=newest + 20 * (count - 1 - number), exit_code=20, message=message)
        for number in range(count)
    ]
    return at_work(*ends, **more)


def test_after_five_fruitless_ends_no_more_workers_are_started() -> None:
    observation = failing()
    assert rule_of(observation) is rules.circuit_breaker
    decision = reconcile(observation)
    assert conditions(decision) == {"Suspended": ("True", "WorkersFailing")}
    waiting = status_of(decision).waiting
    assert waiting is not None
    assert "StorageUnavailable" in waiting.message
    assert "no answer" in waiting.message
    assert "spec.suspend" in waiting.next_step
    assert decision.requeue_after_seconds == TRY_AGAIN_SECONDS - 10


def test_after_four_a_worker_is_replaced() -> None:
    assert made(reconcile(failing(4))).name == name(Role.WORKER, 4)


def test_after_a_while_one_worker_tries_again_and_no_more() -> None:
    tries = failing(newest=TRY_AGAIN_SECONDS, workers_wanted=3)
    assert made(reconcile(tries)).name == name(Role.WORKER, 5)
    again = a_worker(5, age_seconds=1)
    assert reconcile(replace(tries, jobs=(*tries.jobs, again))).action is None


def test_one_that_tried_again_in_vain_closes_it_for_as_long_again() -> None:
    vain = failing(newest=TRY_AGAIN_SECONDS)
    job, pod = crashed(5, seconds_ago=1)
    observation = replace(vain, jobs=(*vain.jobs, job), pods=(*vain.pods, pod))
    assert conditions(reconcile(observation)) == {"Suspended": ("True", "WorkersFailing")}
    assert reconcile(observation).requeue_after_seconds == TRY_AGAIN_SECONDS - 1


def test_once_a_subject_is_done_the_ends_before_do_not_count() -> None:
    observation = failing(reported=a_reported(seconds_since_progress=5.0))
    assert made(reconcile(observation)).name == name(Role.WORKER, 5)
    before_them = failing(reported=a_reported(seconds_since_progress=3600.0))
    assert rule_of(before_them) is rules.circuit_breaker


def test_while_a_worker_lives_it_is_not_over() -> None:
    observation = failing()
    assert rule_of(replace(observation, jobs=(*observation.jobs, a_worker(9)))) is not rules.circuit_breaker


def test_what_took_workers_off_their_nodes_is_nobodys_fault() -> None:
    ends = [crashed(number, exit_code=143, disruption="PreemptionByScheduler") for number in range(9)]
    assert fruitless_ends(at_work(*ends)) == []
    assert made(reconcile(at_work(*ends))).name == name(Role.WORKER, 9)


def test_workers_that_were_released_are_no_fruitless_ends() -> None:
    ends = [a_worker(number, "Complete") for number in range(9)]
    assert fruitless_ends(at_work(*ends)) == []


def test_workers_that_a_person_deleted_are_no_fruitless_ends() -> None:
    told = BatchResult(reason=Reason.INTERRUPTED, message="the pod was told to end")
    ends = [crashed(number, exit_code=143, message=told, deletion_timestamp=timestamp(NOW)) for number in range(9)]
    assert fruitless_ends(at_work(*ends)) == []


def test_suspending_and_resuming_makes_it_try_at_once() -> None:
    resumed = at_work(status=status_of(reconcile(failing())))
    assert made(reconcile(resumed)).name == name(Role.WORKER, 0)
    worker = a_worker(0)
    again = replace(resumed, jobs=(worker,), pods=(pod_of(worker),), workers_wanted=1)
    assert conditions(reconcile(again))["Suspended"] == ("False", "Resumed")
    assert status_of(reconcile(again)).waiting is None


# Results


def test_when_all_is_done_the_results_are_collected() -> None:
    observation = all_done(a_worker(0))
    assert rule_of(observation) is rules.collecting
    action = reconcile(observation).action
    assert isinstance(action, CreateJob)
    assert action.manifest == built(COLLECTOR)


def test_the_collector_is_seen_at_work() -> None:
    job = a_collector()
    assert conditions(reconcile(all_done((job, pod_of(job))))) == {"Running": ("True", "Collecting")}


def test_what_was_collected_is_how_it_ends() -> None:
    status = status_of(reconcile(collected()))
    assert [(each.type, each.reason) for each in status.conditions] == [("Succeeded", "Finished")]
    assert status.counts == Counts(total=100, succeeded=97, failed=3)
    home = "s3://artifacts/shop/shop/.batches/autumn/1/"
    assert (status.results, status.report) == (f"{home}results.jsonl", f"{home}report.html")
    assert (status.workers, status.workers_wanted, status.completion_time) == (0, 0, timestamp(NOW))


def test_at_its_end_the_pace_is_that_of_the_whole_run() -> None:
    began = timestamp(NOW - timedelta(hours=2))
    ended = collected(status=a_status(shards=ALL_DONE, start_time=began, subjects_per_hour=7))
    assert status_of(reconcile(ended)).subjects_per_hour == 48
    assert status_of(reconcile(collected())).subjects_per_hour is None


def test_a_finished_batch_ends_what_is_left_and_stays_finished() -> None:
    finished = written(collected())
    assert rule_of(finished) is rules.batch_finished
    assert reconcile(finished) == Decision()
    late = a_worker(4)
    assert reconcile(replace(finished, jobs=(*finished.jobs, late))) == Decision(action=DeleteJob(late))


def test_the_numbers_of_the_results_replace_what_was_reported() -> None:
    found = COLLECTED.model_copy(update={"lines": 120, "succeeded": 80, "skipped": 30, "failed": 4})
    assert status_of(reconcile(collected(found))).counts == Counts(
        total=120, succeeded=80, skipped=30, failed=4, pending=6
    )


def test_a_batch_of_which_too_many_failed_fails_and_has_its_results() -> None:
    for failed, kind, reason in ((10, "Succeeded", "Finished"), (11, "Failed", "TooManyFailed")):
        found = COLLECTED.model_copy(update={"succeeded": 100 - failed, "failed": failed})
        decision = reconcile(collected(found))
        assert conditions(decision) == {kind: ("True", reason)}
        assert status_of(decision).results is not None


def test_a_batch_without_subjects_ends_well() -> None:
    nothing = BatchResult(reason=Reason.COLLECTED, message="nothing")
    assert conditions(reconcile(collected(nothing)))["Succeeded"] == ("True", "Finished")


def test_a_collector_that_fails_fails_the_batch() -> None:
    job = a_collector(0, "Failed", reason="BackoffLimitExceeded")
    denied = BatchResult(reason=Reason.ACCESS_DENIED, message="no")
    decision = reconcile(all_done((job, pod_of(job, exit_code=11, message=denied))))
    assert conditions(decision) == {"Failed": ("True", "AccessDenied")}
    assert status_of(decision).results is None


def test_results_whose_pod_is_gone_are_collected_again() -> None:
    gone = a_collector(0, "Complete")
    assert reconcile(all_done(gone)) == Decision(action=DeleteJob(gone))


def judged(
    failed: int, succeeded: int, spec: dict[str, Any] | None = None, *, broken: int = 0, subjects: int = 1000
) -> BatchObservation:
    status = a_status(plan=BatchPlanStatus(lines=subjects + broken, subjects=subjects, failed=broken))
    return at_work(a_worker(0), status=status, spec=spec, reported=a_reported(failed=failed, succeeded=succeeded))


@pytest.mark.parametrize(
    ("observation", "ends"),
    [
        pytest.param(judged(11, 89), True, id="eleven of a hundred"),
        pytest.param(judged(10, 90), False, id="ten of a hundred"),
        pytest.param(judged(98, 1), False, id="too few to judge"),
        pytest.param(judged(50, 50, {"maxFailedPercent": 50}), False, id="as many as the spec allows"),
        pytest.param(judged(1, 99, {"maxFailedPercent": 0}), True, id="none may fail"),
        pytest.param(judged(9, 81, broken=400, subjects=100), False, id="broken lines are not judged"),
        pytest.param(judged(0, 100, broken=400), True, id="broken lines count once it is judged"),
    ],
)
def test_too_many_failures_end_a_batch_that_runs(observation: BatchObservation, ends: bool) -> None:
    assert (rule_of(observation) is rules.collecting) is ends


def test_too_many_failures_end_the_workers_before_the_results_are_collected() -> None:
    observation = judged(50, 50)
    assert reconcile(observation) == Decision(action=DeleteJob(a_worker(0)))
    going = reconcile(replace(observation, jobs=(a_worker(0, **GOING),))).action
    assert isinstance(going, CreateJob)
    (container,) = going.manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["collect", "--unfinished"]


def test_a_batch_that_too_many_failures_ended_fails() -> None:
    job = a_collector(0, "Complete", unfinished=True)
    found = BatchResult(reason=Reason.COLLECTED, message="", lines=1000, succeeded=50, failed=50)
    observation = judged(50, 50)
    observation = replace(observation, jobs=(job,), pods=(pod_of(job, exit_code=0, message=found),))
    assert conditions(reconcile(observation)) == {"Failed": ("True", "TooManyFailed")}


def test_what_was_collected_before_all_was_done_is_not_how_a_batch_ends_that_went_on() -> None:
    early, last = a_collector(0, "Complete", unfinished=True), a_collector()
    went_on = all_done(early, spec={"maxFailedPercent": 50}, reported=all_reported(succeeded=80, failed=20))
    assert rule_of(went_on) is rules.goes_on_after_all
    assert reconcile(went_on) == Decision(action=DeleteJob(early))
    assert made(reconcile(replace(went_on, jobs=()))).name == last.name


def test_an_early_collector_ends_where_more_failures_are_allowed_meanwhile() -> None:
    early = a_collector(0, unfinished=True)
    assert reconcile(replace(judged(50, 50), jobs=(early,))).action is None
    allowed = replace(judged(50, 50, {"maxFailedPercent": 60}), jobs=(early,))
    assert reconcile(allowed) == Decision(action=DeleteJob(early))


def test_a_next_pass_is_not_begun_where_too_many_failed() -> None:
    status = a_status(passes=[PassProgress(steps=6)], shards=ALL_DONE)
    through = all_done(spec=TWO_PASSES, status=status, reported=all_reported(succeeded=80, failed=20))
    assert rule_of(through) is rules.collecting


MISSING = BatchResult(reason=Reason.COLLECTED, message="2 shards of 4 have no whole segment", missing="1,3")


def test_results_that_are_incomplete_send_their_shards_back() -> None:
    status = status_of(reconcile(collected(MISSING)))
    assert status.shards is not None
    assert (status.shards.done, status.collections) == ("0,2", 1)
    assert not any(each.type in ("Succeeded", "Failed") for each in status.conditions)


def test_after_that_they_are_worked_on_and_collected_by_another_job() -> None:
    back = status_of(reconcile(collected(MISSING)))
    first = a_collector(0, "Complete")
    working = at_work(first, status=back, reported=a_reported(shards_left=2, useful_workers=2))
    assert made(reconcile(working)).name == name(Role.WORKER, 0)
    assert made(reconcile(all_done(first, status=back))).name == name(Role.COLLECTOR, 1)


def test_results_that_stay_incomplete_fail_the_batch() -> None:
    status = a_status(shards=ALL_DONE, collections=MOST_COLLECTIONS)
    decision = reconcile(collected(MISSING, MOST_COLLECTIONS, status=status))
    assert conditions(decision) == {"Failed": ("True", "ResultsIncomplete")}
    assert "1,3" in status_of(decision).conditions[0].message


# What the facts are


def test_an_end_of_another_revision_is_none() -> None:
    end = written(collected()).batch.written
    assert is_batch_finished(a_manifest(status=end))
    assert not is_batch_finished(a_manifest({"revision": 2}, end))


def test_a_status_that_does_not_fit_its_types_is_as_good_as_none() -> None:
    manifest = a_manifest() | {"status": {"revision": 1, "counts": "many"}}
    assert read_batch(manifest).written == PersonalizationBatchStatus()


def test_an_end_is_seen_in_a_status_that_does_not_fit_its_types() -> None:
    end = Condition(type="Failed", status="True", reason="Finished", message="", last_transition_time=timestamp(NOW))
    manifest = a_manifest() | {"status": {"revision": 1, "counts": "many", "conditions": [end.to_json()]}}
    assert read_batch(manifest).finished


def test_a_job_that_still_runs_has_no_verdict() -> None:
    job = a_worker(0)
    assert job_verdict(job, (pod_of(job, exit_code=1),)) is None


def test_the_last_pod_speaks_for_a_job_that_failed() -> None:
    job = a_planner("Failed", reason="BackoffLimitExceeded")
    pods = [
        pod_of(job, exit_code=10, message=BatchResult(reason=reason, message=""), ended_seconds_ago=ago, name=reason)
        for reason, ago in ((Reason.SOURCE_UNREADABLE, 5), (Reason.SOURCE_NOT_FOUND, 60))
    ]
    verdict = job_verdict(job, tuple(pods))
    assert verdict is not None
    assert verdict.reason == Reason.SOURCE_UNREADABLE


def test_every_rule_has_decided_something_here() -> None:
    """A rule that never answers would be dead."""
    observations = [
        an_observation(a_batch(DELETE, a_status())),
        written(collected()),
        an_observation(a_batch({"workers": 7})),
        an_observation(a_batch({"revision": 2}), a_worker(0)),
        an_observation(a_batch(status=ACCEPTED), a_planner(annotations={})),
        at_work(spec={"suspend": True}),
        an_observation(progress_url=None),
        an_observation(job_refusal=Waiting(reason="x", message="", next_step="")),
        an_observation(),
        at_work(spec={"mode": "Plan"}),
        all_done(spec=TWO_PASSES, status=a_status(passes=[PassProgress(steps=6)], shards=ALL_DONE)),
        at_work(a_collector(0, "Complete", unfinished=True)),
        all_done(),
        failing(),
        at_work(),
        at_work(a_worker(0), a_worker(1), workers_wanted=1),
        at_work(a_worker(0), a_worker(1)),
    ]
    assert [rule_of(observation) for observation in observations] == list(rules.RULES)
