from __future__ import annotations

from typing import Any

import pytest

from given import JOB_UID, NAMESPACE, SHA, a_job, a_personalization, a_pod, an_observation, reconcile
from likeness_api.personalization import PersonalizationStatus
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.facts import is_done, is_finished, read_personalization

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


def full_status() -> K8sObject:
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
        "unwatched": True,
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


def a_finished_one(policy: str = "Retain", *finalizers: str, **status: Any) -> K8sObject:
    said = {"conditions": [{"type": "Succeeded", "status": "True"}]} | status
    return {"metadata": METADATA | {"finalizers": list(finalizers)}, "spec": {"deletionPolicy": policy}, "status": said}


HAD_A_JOB = {"jobRef": {"name": "red-teapot-x", "uid": JOB_UID}}


@pytest.mark.parametrize(
    ("manifest", "done"),
    [
        pytest.param(a_finished_one(unwatched=True), True, id="unwatched"),
        pytest.param(a_finished_one(), False, id="finished before it could say so"),
        pytest.param(a_finished_one(settled=True), False, id="finished under the operator before"),
        pytest.param(a_finished_one("Delete", "likeness.dev/erase", **HAD_A_JOB), True, id="waits for its deletion"),
        pytest.param(a_finished_one("Delete", **HAD_A_JOB), False, id="its finalizer is missing"),
        pytest.param(a_finished_one("Delete"), False, id="never had a Job, and does not say so yet"),
        pytest.param({"metadata": METADATA, "spec": {}}, False, id="new"),
    ],
)
def test_nothing_is_left_to_do_about_one_that_says_so(manifest: K8sObject, done: bool) -> None:
    assert is_done(manifest) is done


@pytest.mark.parametrize("finalizers", [["likeness.dev/erase"], ["somebody/else"]])
def test_one_that_is_being_deleted_is_done_once_our_finalizer_is_off(finalizers: list[str]) -> None:
    manifest = {"metadata": METADATA | {"deletionTimestamp": MOMENT, "finalizers": finalizers}, "spec": {}}
    assert is_done(manifest) == (finalizers == ["somebody/else"])
