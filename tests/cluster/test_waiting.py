"""A Personalization that cannot start says why, and what a person can do; once that is done it goes on by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from kube import apply, fetch, kubectl, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.job import job_name
from shop import SHOP, create, finished, jobs_of, pods_of, profile, read, succeeded, waiting


def stuck(name: str, **runtime: object) -> str:
    """A Personalization of a profile of its own, the small one with another `runtime`."""
    changed = profile(name)
    changed["spec"]["runtime"] |= runtime
    apply(changed)
    return create(name, profile=name)


ROOT = {"spec": {"securityContext": {"runAsNonRoot": False}}}
"""What the namespace's Pod Security level refuses, though the admission policies let it through."""


@pytest.mark.parametrize(
    ("name", "runtime", "reason", "words"),
    [
        pytest.param("no-gpu", {"resources": {"limits": {"nvidia.com/gpu": 64}}}, "Unschedulable", "0/1 nodes"),
        pytest.param("no-image", {"image": "registry.invalid/likeness:none"}, "ImagePullBackOff", "registry.invalid"),
        pytest.param("root", {"podTemplate": ROOT}, "FailedCreate", "runAsNonRoot"),
        pytest.param("host", {"podTemplate": {"spec": {"hostNetwork": True}}}, "JobRefused", "hostNetwork"),
        pytest.param("half", {"podTemplate": {"spec": {"containers": [{"name": "tuner"}]}}}, "JobRefused", "image"),
    ],
)
def test_it_says_what_it_waits_for(shop: str, name: str, runtime: K8sObject, reason: str, words: str) -> None:
    found = waiting(stuck(name, **runtime), reason)
    assert words in found["message"]
    assert found["nextStep"]
    kubectl("-n", SHOP, "delete", "pz", name)


def test_an_image_without_the_command_is_told_in_the_container_runtimes_words(shop: str) -> None:
    unprivileged = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    image = os.environ["LIKENESS_TEST_OPERATOR_IMAGE"]
    tuner = {"name": "tuner", "image": image, "command": ["/tune"], "securityContext": unprivileged}
    once = profile("no-command", backoffLimit=0)
    once["spec"]["runtime"]["podTemplate"] = {"spec": {"containers": [tuner]}}
    apply(once)
    status = finished(create("no-command", profile="no-command"))["status"]
    assert status["failure"]["reason"] == "RuntimeCrashed"
    assert "/tune: no such file" in status["failure"]["message"]
    assert "startTime" not in status


def test_a_corrected_profile_lets_it_go_on(shop: str) -> None:
    name = stuck("corrected", podTemplate={"spec": {"containers": [{"name": "tuner"}]}})
    waiting(name, "JobRefused")
    apply(profile("corrected"))
    succeeded(name)


def test_a_full_quota_is_told_in_the_api_servers_words_and_gone_when_there_is_room(shop: str) -> None:
    kubectl("-n", SHOP, "create", "quota", "no-jobs", "--hard=count/jobs.batch=0")
    name = create("over-quota")
    assert "exceeded quota: no-jobs" in waiting(name, "QuotaExceeded")["message"]
    kubectl("-n", SHOP, "delete", "quota", "no-jobs")
    succeeded(name)


def test_a_job_that_is_deleted_again_and_again_is_given_up(shop: str) -> None:
    name = create("unwanted", tuning={"steps": 500})
    for _ in range(3):
        job = wait_for("a Job that the status knows", lambda: read(name).get("status", {}).get("jobRef"), 60)
        kubectl("-n", SHOP, "delete", "job", job["name"])
        wait_for("the deletion to be noticed", lambda: read(name)["status"].get("jobRef") != job, 60)  # noqa: B023 - called at once
    failure = wait_for("the end", lambda: read(name)["status"].get("failure"), 60)
    assert failure["reason"] == "JobDeleted"
    assert not jobs_of(name)


def test_somebody_elses_job_is_neither_taken_over_nor_deleted(shop: str) -> None:
    name = create("taken", suspend=True)
    wait_for("Suspended", lambda: read(name).get("status", {}).get("conditions"), 60)
    foreign = job_name(name, read(name)["metadata"]["uid"])
    kubectl("-n", SHOP, "create", "job", foreign, "--image=registry.invalid/nothing:none")
    kubectl("-n", SHOP, "patch", "pz", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    failure = wait_for("the end", lambda: read(name)["status"].get("failure"), 60)
    assert failure["reason"] == "JobNameTaken"
    assert fetch("job", foreign, SHOP) is not None


def say(kind: str, name: str, status: K8sObject) -> None:
    """As the kubelet would."""
    said = json.dumps({"status": status})
    kubectl("-n", SHOP, "patch", kind, name, "--subresource=status", "--type=merge", "-p", said)


@pytest.fixture
def lost_node(cluster: None) -> Iterator[str]:
    """A node without a kubelet: what was said of it last is that it is well."""
    name = "lost"
    labels = {"kubernetes.io/hostname": name}
    apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it was"}
    say("node", name, {"capacity": room, "allocatable": room, "conditions": [ready]})
    yield name
    kubectl("delete", "node", name, "--ignore-not-found")


def test_a_pod_that_is_lost_with_its_node_is_not_called_running_for_ever(
    shop: str, lost_node: str, figure: Callable[[str], None]
) -> None:
    name = stuck("lost", nodeSelector={"kubernetes.io/hostname": lost_node})

    def placed() -> str | None:
        return next((pod["metadata"]["name"] for pod in pods_of(name) if "nodeName" in pod["spec"]), None)

    pod = wait_for("a pod on the node", placed, seconds=60)
    running = {"running": {"startedAt": "2026-11-26T00:00:00Z"}}
    tuner = {"name": "tuner", "image": "x", "imageID": "", "ready": True, "restartCount": 0, "state": running}
    say("pod", pod, {"phase": "Running", "containerStatuses": [tuner]})
    wait_for("Running", lambda: "Running" in true_conditions(read(name)), seconds=30)
    kubectl("-n", SHOP, "delete", "pod", pod, "--wait=false", "--grace-period=1")
    told = waiting(name, "StillRunning", seconds=60)
    assert pod in told["message"]
    assert "Running" not in true_conditions(read(name))
    figure(told["nextStep"])
    kubectl("delete", "node", lost_node)

    def evicted() -> list[str]:
        return [one["reason"] for one in read(name)["status"].get("attempts", []) if one["pod"] == pod]

    wait_for("the next attempt", lambda: {each["metadata"]["name"] for each in pods_of(name)} - {pod}, seconds=120)
    assert wait_for("the lost one in the history", evicted, seconds=60) == ["Evicted"]
    kubectl("-n", SHOP, "delete", "pz", name)
