"""Kueue decides how many workers of a catalogue there are, and an interactive request comes first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from catalogue import batch, batch_jobs, batch_pods, ended, put_manifest, put_pictures, read_batch, results_of
from kube import apply, fetch, kubectl, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import Seaweed
from shop import SHOP, create, profile, running_pod, succeeded

QUEUE, URGENT = "night", "likeness-test-interactive"
SUBJECTS = 600
FLAVOR = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "night"}}


def cluster_queue(workers: int) -> K8sObject:
    """Quota for so many workers of 100 m of CPU each."""
    quotas = [{"name": "cpu", "nominalQuota": f"{workers}00m"}, {"name": "memory", "nominalQuota": "64Gi"}]
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "ClusterQueue",
        "metadata": {"name": QUEUE},
        "spec": {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [
                {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "night", "resources": quotas}]}
            ],
        },
    }


def queued_profile(name: str, **runtime: object) -> K8sObject:
    made = profile(name, queueName=QUEUE)
    made["spec"]["runtime"]["resources"] = {
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"memory": "2Gi"},
    }
    made["spec"]["runtime"] |= runtime
    return made


@pytest.fixture(scope="module")
def queue(shop: str) -> str:
    if fetch("crd", "workloads.kueue.x-k8s.io", "") is None:
        pytest.skip("Kueue is not installed on this cluster")
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": URGENT}}
    local = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue", "metadata": {"name": QUEUE}}
    local["metadata"] = {"name": QUEUE, "namespace": SHOP}
    apply(
        FLAVOR, cluster_queue(3), {**local, "spec": {"clusterQueue": QUEUE}}, {**priority, "value": 1000},
        queued_profile("queued-batch"), queued_profile("interactive", priorityClassName=URGENT),
    )  # fmt: skip
    return QUEUE


def at_work(name: str) -> set[str]:
    """Workers whose pod runs and is not being taken away."""
    return {
        pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        for pod in batch_pods(name)
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    }


def holds(what: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert what()
        time.sleep(0.5)


@pytest.mark.timeout(1200)
def test_workers_come_with_the_quota_and_go_one_by_one(
    queue: str, storage: Seaweed, figure: Callable[[str], None]
) -> None:
    source = put_manifest(storage, "queued.jsonl", put_pictures(storage, "queued", SUBJECTS))
    apply(batch("queued", source, profile="queued-batch", workers={"min": 8, "max": 8}))
    wait_for("three workers", lambda: len(at_work("queued")) == 3, 180)
    assert len([job for job in batch_jobs("queued") if "-w" in job["metadata"]["name"]]) == 8
    holds(lambda: len(at_work("queued")) <= 3, 10)

    apply(cluster_queue(4))
    began = time.monotonic()
    wait_for("a fourth one", lambda: len(at_work("queued")) == 4, 60)
    figure(f"quota from 3 to 4 workers: the fourth one ran after {time.monotonic() - began:.1f} s")

    before, began = at_work("queued"), time.monotonic()
    urgent = create("interactive", profile="interactive")
    running_pod(urgent)
    figure(f"an interactive Personalization ran {time.monotonic() - began:.1f} s after it was asked for")
    assert time.monotonic() - began < 30
    assert len(before - at_work("queued")) == 1
    succeeded(urgent)
    wait_for("four again", lambda: len(at_work("queued")) == 4, 60)

    kubectl("-n", SHOP, "patch", "pzb", "queued", "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    wait_for("Suspended", lambda: "Suspended" in true_conditions(read_batch("queued")), 60)
    wait_for("no Job is left", lambda: not batch_jobs("queued"), 90)
    holds(lambda: not batch_jobs("queued"), 10)
    kubectl("-n", SHOP, "patch", "pzb", "queued", "--type=merge", "-p", json.dumps({"spec": {"suspend": False}}))

    status = ended("queued", seconds=900)["status"]
    assert (status["counts"]["succeeded"], status["counts"]["total"]) == (SUBJECTS, SUBJECTS)
    assert [line["line"] for line in results_of(storage, "queued")] == list(range(1, SUBJECTS + 1))
