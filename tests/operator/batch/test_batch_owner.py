"""A batch that is being deleted: what is erased for it, by which Job, and what is in the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.operator.batch.batch_given import (
    BATCH,
    BATCH_SPEC,
    BATCH_UID,
    a_batch,
    a_manifest,
    a_status,
    a_worker,
    pod_of,
)

from given import NAMESPACE, NOW, a_personalization, a_pod, a_profile, conditions, erase
from likeness_api.accept import Refusal
from likeness_api.field import timestamp
from likeness_api.order import BatchEraseOrder
from likeness_api.personalization_batch import PersonalizationBatchStatus, Shards
from likeness_api.reason import Reason
from likeness_operator.engine.decision import CreateJob, Decision, DeleteJob, Question, RemoveFinalizer
from likeness_operator.erasure.job import build_erase_job, erase_job_name
from likeness_operator.erasure.observation import ErasureObservation
from likeness_operator.erasure.owner import batch_owner, personalization_owner, read_owner
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.label import FINALIZER

OTHER = {"template": BATCH_SPEC["template"] | {"output": "s3://artifacts/shop/spring"}}


def deleted(
    spec: K8sObject | None = None,
    *,
    seconds_ago: float = 1,
    status: PersonalizationBatchStatus | None = None,
    **more: Any,
) -> ErasureObservation:
    moment = timestamp(NOW - timedelta(seconds=seconds_ago))
    about = a_batch(
        {"deletionPolicy": "Delete"} | (spec or {}),
        status or a_status(),
        deletionTimestamp=moment,
        finalizers=[FINALIZER],
    )
    return replace(ErasureObservation(batch_owner(about), NOW, profile=a_profile()), **more)


def eraser(observation: ErasureObservation) -> K8sObject:
    action = erase(observation).action
    assert isinstance(action, CreateJob)
    return action.manifest


def order_of(job: K8sObject) -> BatchEraseOrder:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    texts = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    return BatchEraseOrder.decode(texts["LIKENESS_ORDER"].replace("$$", "$"))


def test_an_owner_is_read_by_its_kind() -> None:
    batch = read_owner(a_manifest())
    assert (batch.reference.kind, batch.short_name, batch.owner_label) == (
        "PersonalizationBatch",
        "pzb",
        label.BATCH_NAME,
    )
    single = personalization_owner(a_personalization())
    assert (single.reference.kind, single.short_name) == ("Personalization", "pz")
    assert (single.command, batch.command) == ("erase", "erase-batch")


def test_several_jobs_may_publish_for_a_batch() -> None:
    assert read_owner(a_manifest()).job_name is None
    assert read_owner(a_manifest({"somethingNew": 1})).job_name is None


def test_all_of_its_jobs_are_ended_before_anything_is_erased() -> None:
    jobs = (a_worker(0, "Complete"), a_worker(1), a_worker(2))
    assert erase(deleted(jobs=jobs)) == Decision(action=DeleteJob(jobs[1]))
    going = replace(jobs[1], terminating=True)
    assert erase(deleted(jobs=(jobs[0], going, jobs[2]))) == Decision(action=DeleteJob(jobs[2]))


def test_nothing_is_erased_while_one_of_its_pods_could_still_publish() -> None:
    pods = (pod_of(a_worker(0), exit_code=143), pod_of(a_worker(1)))
    assert erase(deleted(pods=pods)).action is None
    assert conditions(erase(deleted(seconds_ago=100, pods=pods)))["Erased"] == ("False", "StillRunning")


def test_then_a_job_erases_what_the_batch_published() -> None:
    job = eraser(deleted(jobs=(a_worker(0, "Failed"),), pods=(pod_of(a_worker(0), exit_code=143),)))
    assert job["metadata"]["name"] == erase_job_name(BATCH, BATCH_UID)
    labels = job["metadata"]["labels"]
    assert (labels[label.BATCH_NAME], labels[label.ERASES]) == (BATCH, BATCH_UID)
    assert label.PERSONALIZATION_NAME not in labels
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["erase-batch"]
    order = order_of(job)
    assert (order.namespace, order.name, order.output) == (NAMESPACE, BATCH, "s3://artifacts/shop")


def test_it_erases_below_the_output_of_the_spec() -> None:
    assert order_of(eraser(deleted(OTHER))).output == "s3://artifacts/shop/spring"


def test_it_erases_as_whom_the_workers_published() -> None:
    template = BATCH_SPEC["template"]
    by_account = eraser(deleted({"template": template | {"serviceAccountName": "writer"}}))
    assert by_account["spec"]["template"]["spec"]["serviceAccountName"] == "writer"
    by_secret = eraser(deleted({"template": template | {"credentialsSecretRef": {"name": "keys"}}}))
    assert "'name': 'keys'" in str(by_secret["spec"]["template"]["spec"]["containers"])


def test_the_profile_is_the_one_it_names_or_else_the_one_it_was_accepted_by() -> None:
    unnamed = {"template": {"output": "s3://artifacts/shop"}}
    assert deleted().owner.profile == "sd15"
    assert deleted(unnamed, status=a_status(profile="sdxl")).owner.profile == "sdxl"
    assert deleted(unnamed, status=PersonalizationBatchStatus()).owner.profile is None
    assert erase(deleted(profile=None)) == Decision(question=Question.PROFILE)


def test_the_status_of_a_former_revision_is_kept() -> None:
    observation = deleted({"revision": 2}, status=a_status(profile="sdxl"), seconds_ago=100, pods=(a_pod("Running"),))
    status = erase(observation).status
    assert isinstance(status, PersonalizationBatchStatus)
    assert (status.revision, status.profile, status.shards) == (1, "sdxl", Shards(total=4))


@pytest.mark.parametrize(
    ("spec", "more", "reason"),
    [
        pytest.param({}, {"profile": Refusal(Reason.PROFILE_NOT_FOUND, "none")}, "ProfileNotFound", id="no profile"),
        pytest.param({"template": {"output": "s3://elsewhere"}}, {}, "BucketNotAllowed", id="not allowed any more"),
        pytest.param({"somethingNew": 1}, {}, "InvalidSpec", id="cannot be read"),
    ],
)
def test_what_is_in_the_way_is_said_with_the_way_out(spec: K8sObject, more: dict[str, Any], reason: str) -> None:
    decision = erase(deleted(spec, namespace_terminating=False, **more))
    assert conditions(decision)["Erased"] == ("False", reason)
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert f"kubectl -n {NAMESPACE} patch pzb {BATCH}" in decision.status.waiting.next_step


def test_who_erases_by_hand_is_told_where_a_batchs_artifacts_are() -> None:
    decision = erase(deleted({"somethingNew": 1}, namespace_terminating=False))
    assert decision.status is not None
    assert decision.status.waiting is not None
    assert f"{NAMESPACE}/{BATCH}/ of its spec.output" not in decision.status.waiting.next_step


def test_a_namespace_on_its_way_out_is_not_held_up_and_is_told_what_stays() -> None:
    action = erase(deleted(namespace_terminating=True)).action
    assert isinstance(action, RemoveFinalizer)
    assert "s3://artifacts/shop/shop/" in action.event.note
    assert BATCH in action.event.note


def test_a_batch_and_a_personalization_of_one_name_have_two_erase_jobs() -> None:
    batch = batch_owner(a_batch())
    single = personalization_owner(a_personalization(name=BATCH))
    assert batch.name == single.name
    assert erase_job_name(batch.name, batch.uid) != erase_job_name(single.name, single.uid)


def test_the_erase_job_outlives_its_batch() -> None:
    owner, profile = batch_owner(a_batch()), a_profile()
    assert owner.order is not None
    order = owner.order(profile.spec)
    assert not isinstance(order, Refusal)
    assert "ownerReferences" not in build_erase_job(owner, profile.name, profile.spec, order)["metadata"]
