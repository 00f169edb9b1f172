"""What a pod leaves behind is written by whoever may run pods: none of it is believed that was not ordered, and no
status that it gets into is one that the API server would refuse.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from given import UID, a_job, a_pod, an_observation, reconcile
from hostile import GOOD, believed, hostile_messages
from likeness_api.crd import KINDS, manifest
from likeness_api.personalization import PersonalizationStatus
from likeness_api.reason import Reason
from likeness_operator.engine.decision import Decision
from schema import complaints

COUNT = 5000
(SCHEMA,) = [
    version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for kind in KINDS
    if kind.kind == "Personalization"
    for version in manifest(kind)["spec"]["versions"]
]


def test_the_good_one_is_believed() -> None:
    status = decided(GOOD)
    assert status["conditions"][0]["type"] == "Succeeded"
    assert believed(status) == []
    assert complaints(status, SCHEMA) == []


def test_no_hostile_result_is_believed_or_makes_a_status_that_is_refused() -> None:
    ends: dict[str, int] = {}
    for message in hostile_messages(GOOD, COUNT, seed=16):
        status = decided(message)
        assert complaints(status, SCHEMA) == [], message[:500]
        end = status["conditions"][0]
        ends[f"{end['type']} {end['reason']}"] = ends.get(f"{end['type']} {end['reason']}", 0) + 1
        if end["type"] == "Succeeded":
            assert believed(status) == [], message[:500]
        else:
            assert "artifacts" not in status
            assert status["failure"]["message"]
    assert set(ends) == {"Succeeded Tuned", "Failed ResultInvalid", "Failed RuntimeCrashed"}, ends
    assert ends["Failed ResultInvalid"] > 0.8 * COUNT, ends


@pytest.mark.parametrize("exit_code", [1, 10, 20, 137])
def test_hostile_words_of_a_pod_that_failed_fit_into_a_status(exit_code: int) -> None:
    for message in hostile_messages(GOOD, 500, seed=exit_code):
        observation = an_observation(
            None, a_job("Failed", reason="BackoffLimitExceeded"), a_pod(exit_code=exit_code, message=message)
        )
        decision = reconcile(observation)
        assert decision.status is not None
        assert complaints(json_of(decision), SCHEMA) == []
        assert json_of(decision)["conditions"][0]["type"] == "Failed"


def test_the_end_is_told_once() -> None:
    observation = an_observation(None, a_job("Complete"), a_pod(exit_code=0, message="{"))
    decision = reconcile(observation)
    assert decision.status is not None
    about = replace(observation.personalization, status=decision.status, finished=True, unwatched=True)
    assert reconcile(replace(observation, personalization=about)) == Decision()


def test_a_job_of_our_name_that_somebody_else_made_is_not_ours() -> None:
    """With our labels and our owner reference, before a status names a Job."""
    stranger = replace(a_job("Complete"), annotations=())
    decision = reconcile(an_observation(None, stranger, a_pod(exit_code=0, message=GOOD)))
    assert decision.status is not None
    assert decision.status.failure is not None
    assert decision.status.failure.reason == Reason.JOB_NAME_TAKEN
    known = PersonalizationStatus.model_validate({"jobRef": {"name": stranger.name, "uid": stranger.uid}})
    observation = an_observation(None, stranger, a_pod(exit_code=0, message=GOOD))
    about = replace(observation.personalization, status=known)
    ours = reconcile(replace(observation, personalization=about))
    assert ours.status is not None
    assert ours.status.failure is None
    assert stranger.owner_uid == UID


def decided(message: str) -> dict[str, Any]:
    return json_of(reconcile(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=message))))


def json_of(decision: Decision[PersonalizationStatus]) -> dict[str, Any]:
    """As it is sent."""
    assert decision.status is not None
    sent = {field: value for field, value in decision.status.to_json().items() if value != []}
    status: dict[str, Any] = json.loads(json.dumps(sent))
    return status
