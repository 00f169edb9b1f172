from __future__ import annotations

from typing import Any

import pytest

from given import NAME, NAMESPACE, UID, a_personalization, a_profile
from likeness_api.accept import Refusal, accept_erase
from likeness_api.order import EraseOrder
from likeness_operator.erasure.job import build_erase_job, erase_job_name
from likeness_operator.erasure.owner import personalization_owner
from likeness_operator.personalization.profile import Profile

GPU = {"image": "likeness/runtime:1", "resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"pool": "gpu"}}


def built(profile: Profile | None = None, **spec: Any) -> dict[str, Any]:
    profile = profile or a_profile()
    owner = a_personalization({"deletionPolicy": "Delete"} | spec)
    assert owner.spec is not None
    order = accept_erase(NAME, NAMESPACE, owner.spec, profile.spec)
    assert not isinstance(order, Refusal), order
    return build_erase_job(personalization_owner(owner), profile.name, profile.spec, order)


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["template"]["spec"])


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(manifest)["containers"]
    return dict(only)


def test_its_name_is_short_enough_for_its_pods_and_the_same_for_ever() -> None:
    assert erase_job_name("x" * 63, UID) == erase_job_name("x" * 63, UID)
    assert len(erase_job_name("x" * 63, UID)) <= 57


def test_it_erases_below_its_own_prefix_and_nothing_more() -> None:
    (value,) = [each["value"] for each in container(built())["env"] if each["name"] == "LIKENESS_ORDER"]
    order = EraseOrder.decode(value)
    assert container(built())["args"] == ["erase"]
    assert (order.output, order.namespace, order.name) == ("s3://artifacts/shop", NAMESPACE, NAME)
    assert order.storage.output_prefixes == ["s3://artifacts/shop"]


def test_it_has_the_credentials_of_the_tuning() -> None:
    assert pod(built(serviceAccountName="tuner"))["serviceAccountName"] == "tuner"
    names = [each["name"] for each in container(built(credentialsSecretRef={"name": "keys"}))["env"]]
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(names)


def test_it_runs_where_the_tuning_ran_but_takes_no_gpu_and_no_turn_in_a_queue() -> None:
    manifest = built(a_profile(runtime=GPU, queueName="gpus"))
    assert pod(manifest)["nodeSelector"] == {"pool": "gpu"}
    assert container(manifest)["resources"]["limits"].keys() == {"cpu", "memory"}
    assert "kueue.x-k8s.io/queue-name" not in manifest["metadata"]["labels"]
    assert "suspend" not in manifest["spec"]


def test_it_outlives_a_deletion_in_the_foreground() -> None:
    assert "ownerReferences" not in built()["metadata"]


def test_it_fits_the_restricted_level() -> None:
    assert pod(built())["securityContext"]["runAsNonRoot"] is True
    assert pod(built())["automountServiceAccountToken"] is False
    assert container(built())["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container(built())["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("own", [[], [{"name": "tuner", "args": ["tune"]}]], ids=["no containers", "containers"])
def test_a_profiles_pod_template_counts_but_for_its_containers(own: list[Any]) -> None:
    template = {"metadata": {"labels": {"mesh": "no"}}, "spec": {"schedulerName": "mine", "containers": own}}
    manifest = built(a_profile(runtime={"image": "x", "podTemplate": template}))
    assert manifest["spec"]["template"]["metadata"]["labels"]["mesh"] == "no"
    assert pod(manifest)["schedulerName"] == "mine"
    assert container(manifest)["args"] == ["erase"]
