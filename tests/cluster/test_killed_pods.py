"""Pods and Jobs that go away under a tune: nothing is published half, and what can be tried again is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from kube import apply, kubectl, wait_for
from likeness_api.reason import Reason
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import Seaweed
from shop import SHOP, acted, create, finished, jobs_of, logs_of, profile, published_keys, read, running_pod, succeeded

LONG = {"steps": 200}
"""Some ten seconds on an idle machine: long enough to be hit in the middle."""


def tuning_pod(name: str) -> K8sObject:
    """The pod of `name`, in the middle of its steps."""
    pod = running_pod(name)
    wait_for(f"first steps of {name}", lambda: re.search(r"Tuned [1-9]\d* of", logs_of(pod)), seconds=90)
    return pod


def evict(pod: K8sObject) -> None:
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": SHOP}}
    path = f"/api/v1/namespaces/{SHOP}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def delete(pod: K8sObject) -> None:
    kubectl("-n", SHOP, "delete", "pod", pod["metadata"]["name"], "--wait=false")


@pytest.mark.parametrize("end", [delete, evict])
def test_a_pod_that_is_ended_while_tuning_publishes_nothing_half_and_the_retry_succeeds(
    shop: str, storage: Seaweed, figure: Callable[[str], None], end: Callable[[K8sObject], None]
) -> None:
    name = create(tuning=LONG)
    first = tuning_pod(name)
    end(first)
    start = time.monotonic()
    running_pod(name, after=frozenset({first["metadata"]["uid"]}))
    figure(f"the next pod ran {time.monotonic() - start:.1f} s after the first was told to end")
    assert published_keys(storage, name) == []
    subject = succeeded(name, seconds=240)
    folder = subject["status"]["manifest"]["uri"].removeprefix("s3://artifacts/").rpartition("/")[0]
    keys = published_keys(storage, name)
    assert f"{folder}/manifest.json" in keys
    assert {key for key in keys if not key.startswith(folder)} == {f"{folder.rpartition('/')[0]}/latest.json"}


def test_an_eviction_does_not_count(shop: str) -> None:
    """Of no retries at all, none is used up; and the status has it, though the pod is gone."""
    act = acted(Reason.TUNED, seconds=20, backoffLimit=0)
    act["metadata"]["name"] = "no-retries"
    apply(act)
    name = create(profile="no-retries")
    evict(running_pod(name))
    subject = succeeded(name, seconds=240)
    assert [attempt["reason"] for attempt in subject["status"]["attempts"]] == ["Evicted", "Tuned"]


def test_a_job_deleted_by_hand_while_running_is_made_again(shop: str) -> None:
    name = create(tuning=LONG)
    tuning_pod(name)
    (before,) = jobs_of(name)
    kubectl("-n", SHOP, "delete", "job", before["metadata"]["name"])
    subject = succeeded(name, seconds=240)
    (after,) = jobs_of(name)
    assert subject["status"]["jobRef"]["uid"] == after["metadata"]["uid"] != before["metadata"]["uid"]
    assert "JobDeleted" in [attempt["reason"] for attempt in subject["status"]["attempts"]]


def test_a_pod_over_its_memory_limit_is_out_of_memory_and_says_the_limit(
    shop: str, figure: Callable[[str], None]
) -> None:
    small = profile("small-memory")
    small["spec"]["runtime"]["resources"] = {"requests": {"memory": "64Mi"}, "limits": {"memory": "150Mi"}}
    apply(small)
    name = create(profile="small-memory")
    failure = finished(name)["status"]["failure"]
    figure(failure["message"])
    assert failure["reason"] == "OutOfMemory"
    assert "150Mi" in failure["message"]
    time.sleep(5)
    assert len(finished(name)["status"]["attempts"]) == 1


def test_deleting_the_personalization_ends_its_job_and_pod(shop: str) -> None:
    name = create(tuning=LONG)
    running_pod(name)
    kubectl("-n", SHOP, "delete", "pz", name)
    wait_for(f"end of the Job of {name}", lambda: not jobs_of(name), seconds=60)


def test_suspending_ends_the_pod_and_resuming_tunes_from_the_start(shop: str) -> None:
    name = create(tuning=LONG)
    first = tuning_pod(name)
    kubectl("-n", SHOP, "patch", "pz", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')

    def suspended() -> bool:
        conditions = read(name)["status"]["conditions"]
        return any(condition["type"] == "Suspended" and condition["status"] == "True" for condition in conditions)

    wait_for(f"{name} suspended", suspended, seconds=60)
    kubectl("-n", SHOP, "patch", "pz", name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    running_pod(name, after=frozenset({first["metadata"]["uid"]}), seconds=90)
    succeeded(name, seconds=240)


def test_the_deadline_ends_it_with_its_own_reason(shop: str) -> None:
    name = create(tuning=LONG, activeDeadlineSeconds=3)
    assert finished(name)["status"]["failure"]["reason"] == "DeadlineExceeded"
