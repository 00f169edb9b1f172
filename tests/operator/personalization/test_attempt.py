from __future__ import annotations

import pytest

from given import TUNED, a_pod
from likeness_api.personalization import Attempt
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.attempt import verdict, with_finished

INTERRUPTED = Result(reason=Reason.INTERRUPTED, message="SIGTERM at step 3")


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        pytest.param(a_pod(exit_code=0, message=TUNED), Reason.TUNED, id="tuned"),
        pytest.param(a_pod(exit_code=1, message=TUNED), Reason.RUNTIME_CRASHED, id="a good result, a bad exit code"),
        pytest.param(a_pod(exit_code=1), Reason.RUNTIME_CRASHED, id="no result"),
        pytest.param(a_pod(exit_code=137, reason="OOMKilled"), Reason.OUT_OF_MEMORY, id="memory"),
        pytest.param(a_pod(exit_code=137), Reason.INTERRUPTED, id="killed"),
        pytest.param(a_pod(exit_code=143, message=INTERRUPTED), Reason.INTERRUPTED, id="terminated"),
        pytest.param(a_pod("Failed"), Reason.INTERRUPTED, id="never started"),
        pytest.param(a_pod(exit_code=143, disruption="EvictionByEvictionAPI"), Reason.EVICTED, id="evicted"),
        pytest.param(
            a_pod(exit_code=0, message=TUNED, disruption="EvictionByEvictionAPI"), Reason.TUNED, id="evicted, and done"
        ),
        pytest.param(a_pod(exit_code=143, disruption="PreemptionByScheduler"), Reason.PREEMPTED, id="preempted"),
        pytest.param(
            a_pod(exit_code=137, reason="OOMKilled", disruption="DeletionByTaintManager"),
            Reason.EVICTED,
            id="out of memory while evicted",
        ),
    ],
)
def test_an_end_has_one_reason(pod: Pod, reason: Reason) -> None:
    assert verdict(pod).reason == reason


def test_only_a_published_result_is_handed_on() -> None:
    assert verdict(a_pod(exit_code=0, message=TUNED)).result == TUNED
    assert verdict(a_pod(exit_code=10, message=Result(reason=Reason.SOURCE_NOT_FOUND, message="no"))).result is None


def test_a_crash_says_where_to_look() -> None:
    message = verdict(a_pod(name="red-teapot-x", exit_code=1)).message
    assert "exit code 1" in message
    assert "kubectl logs red-teapot-x" in message


def test_a_container_that_could_not_be_started_is_told_in_the_runtimes_words() -> None:
    pod = a_pod(exit_code=128, reason="StartError", message='exec: "/tune": no such file or directory')
    assert verdict(pod).reason == Reason.RUNTIME_CRASHED
    assert verdict(pod).message == 'pod red-teapot-x could not be started: exec: "/tune": no such file or directory'


def test_without_a_limit_the_node_is_to_blame() -> None:
    assert "no memory limit of its own" in verdict(a_pod(exit_code=137, reason="OOMKilled", memory=None)).message


def test_a_pod_is_remembered_once() -> None:
    pod = a_pod(name="p1", exit_code=20)
    once = with_finished([], (pod,))
    assert with_finished(once, (pod,)) == once
    assert once == [Attempt(pod="p1", reason="RuntimeCrashed", exit_code=20, finish_time="2026-11-23T11:59:00Z")]


def test_pods_that_are_gone_stay_in_the_history() -> None:
    once = with_finished([], (a_pod(name="p1", exit_code=20),))
    assert [attempt.pod for attempt in with_finished(once, (a_pod(name="p2", exit_code=20),))] == ["p1", "p2"]


def test_the_history_keeps_the_newest_ten() -> None:
    pods = tuple(a_pod(name=f"p{age:02}", exit_code=20, ended_seconds_ago=age) for age in range(12))
    assert [attempt.pod for attempt in with_finished([], pods)] == [f"p{age:02}" for age in range(9, -1, -1)]


def test_living_pods_are_no_attempts() -> None:
    assert with_finished([], (a_pod("Running"), a_pod())) == []
