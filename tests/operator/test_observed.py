from __future__ import annotations

from typing import Any

import pytest

from given import JOB_UID, NAMESPACE, SHA, TUNED, Manifest, a_job, a_personalization, a_pod, an_observation
from likeness_api.personalization import PersonalizationStatus
from likeness_operator.attempt import verdict
from likeness_operator.observed import NEVER, is_finished, read_job, read_personalization, read_pod
from likeness_operator.reconcile import reconcile

MOMENT = "2026-11-23T12:00:00Z"
METADATA = {"name": "x", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1", "creationTimestamp": MOMENT}


@pytest.mark.parametrize(
    ("condition", "finished"),
    [
        ({"type": "Succeeded", "status": "True"}, True),
        ({"type": "Failed", "status": "True"}, True),
        ({"type": "Failed", "status": "False"}, False),
        ({"type": "Running", "status": "True"}, False),
    ],
)
def test_the_end_is_read_from_raw_conditions(condition: dict[str, str], finished: bool) -> None:
    manifest = {"status": {"conditions": [condition], "fromTheFuture": 1}}
    assert is_finished(manifest) is finished
    assert read_personalization({"metadata": METADATA} | manifest).finished is finished


def test_a_status_that_cannot_be_read_is_observed_anew() -> None:
    read = read_personalization({"metadata": METADATA, "status": {"attempts": "two"}})
    assert read.status == PersonalizationStatus()


def test_a_later_operators_status_is_read_and_what_is_not_known_in_it_is_not_written_back() -> None:
    told = full_status()
    read = read_personalization({"metadata": METADATA, "status": from_the_future(told)}).status
    assert read.to_json() == told

    decision = reconcile(an_observation(a_personalization(status=read), a_job(), a_pod(unschedulable="full")))
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert decision.status.waiting.reason == "Unschedulable"
    assert "fromTheFuture" not in str(decision.status.to_json())


def test_a_later_operators_word_for_who_said_a_caption_is_read() -> None:
    told = full_status()
    told["subject"][0]["captionSource"] = "Judge"
    assert read_personalization({"metadata": METADATA, "status": told}).status.to_json() == told


def full_status() -> Manifest:
    """With every field, and an entry in every list."""
    token, uri, when = "<red-teapot>", "s3://artifacts/shop/x", MOMENT
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "ProfileMatched",
        "message": "",
        "observedGeneration": 1,
    }
    artifact = {"name": "a", "format": "likeness", "uri": uri, "sha256": SHA, "bytes": 1}
    status = {
        "observedGeneration": 1,
        "conditions": [condition | {"lastTransitionTime": when}],
        "profile": "sd15",
        "jobRef": {"name": "red-teapot-x", "uid": JOB_UID},
        "attempts": [{"pod": "p", "reason": "Evicted", "exitCode": 143, "finishTime": when}],
        "startTime": when,
        "completionTime": when,
        "settled": True,
        "progress": {"step": 1, "totalSteps": 2, "percent": 50, "etaSeconds": 1},
        "token": token,
        "nearestWord": "teapot",
        "subject": [{"sha256": SHA, "caption": "a {token}", "captionSource": "Spec"}],
        "manifest": {"uri": uri, "sha256": SHA},
        "artifacts": [artifact],
        "previews": [uri],
        "metrics": [{"name": "lossAfter", "value": "0.1"}],
        "failure": {"reason": "ImageUnreadable", "message": "m", "exitCode": 10, "attempt": 1},
        "waiting": {"reason": "Starting", "message": "m", "nextStep": "n"},
    }
    assert status.keys() == {field.alias for field in PersonalizationStatus.model_fields.values()}
    return status


def from_the_future(value: Any) -> Any:
    """With one more field in every object."""
    if isinstance(value, list):
        return [from_the_future(each) for each in value]
    if isinstance(value, dict):
        return {key: from_the_future(each) for key, each in value.items()} | {"fromTheFuture": {"more": 1}}
    return value


def test_a_spec_that_does_not_fit_is_explained() -> None:
    read = a_personalization({"output": 7})
    assert read.spec is None
    assert read.problem.startswith("spec.output")


def test_what_nobody_said_is_no_trouble() -> None:
    pod = read_pod({"metadata": {"name": "p", "uid": "u", "resourceVersion": "1"}, "spec": {}})
    assert (pod.phase, pod.exit_code, pod.unschedulable, pod.ended) == ("Pending", None, None, False)


def test_a_tuner_that_ended_still_runs_until_the_phase_says_so() -> None:
    state = {"terminated": {"exitCode": 0, "startedAt": MOMENT, "finishedAt": MOMENT}}
    status = {"phase": "Running", "containerStatuses": [{"name": "tuner", "state": state}]}
    pod = read_pod({"metadata": METADATA, "spec": {"containers": []}, "status": status})
    assert (pod.running, pod.ended, pod.exit_code) == (True, False, 0)


def test_a_pod_that_the_kubelet_would_not_have_has_the_kubelets_words() -> None:
    said = "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": said}
    pod = read_pod({"metadata": METADATA, "spec": {}, "status": status})
    assert (pod.end_reason, pod.message) == ("UnexpectedAdmissionError", said)
    assert verdict(pod).message.endswith(f"before its container started: UnexpectedAdmissionError: {said}")


def test_a_container_that_never_started_has_no_start() -> None:
    """The kubelet says 1970."""
    state = {"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": NEVER, "finishedAt": MOMENT}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "tuner", "state": state}]}
    assert read_pod({"metadata": METADATA, "spec": {}, "status": status}).started_at is None


def test_only_the_tuner_counts_among_containers() -> None:
    pod = a_pod(exit_code=0, message=TUNED)
    assert (pod.exit_code, pod.memory_limit) == (0, "2Gi")


def test_a_foreign_job_is_read_too() -> None:
    job = read_job(
        {
            "metadata": METADATA,
            "spec": {"template": {"spec": {"containers": [{"name": "busybox"}]}}},
        }
    )
    assert (job.owner_uid, job.token, job.queued, job.settled) == (None, None, False, False)


def test_a_job_is_settled_before_it_ended() -> None:
    assert a_job("FailureTarget").settled
    assert not a_job("FailureTarget").ended
    assert a_job("Failed").ended
