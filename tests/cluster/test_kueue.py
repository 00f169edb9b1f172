"""Kueue decides whose turn it is: a quota of one GPU, more Personalizations than that, and one that is urgent."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from kube import apply, fetch, kubectl
from likeness_operator.kubernetes.k8s_object import K8sObject
from shop import SHOP, create, jobs_of, profile, read, running_pod, succeeded, waiting

GPU = "nvidia.com/gpu"
URGENT = "likeness-test-urgent"


def queue_profile(name: str, **more: object) -> K8sObject:
    """One GPU (that only the scheduler and Kueue know of), and no retry: whatever counts ends it."""
    changed = profile(name, queueName="gpus", backoffLimit=0)
    changed["spec"]["runtime"]["resources"]["limits"][GPU] = 1
    changed["spec"]["runtime"] |= more
    return changed


@pytest.fixture(scope="module")
def one_gpu(shop: str) -> str:
    """A LocalQueue of the tenant with a quota of one GPU, where higher priorities preempt lower ones."""
    if fetch("crd", "workloads.kueue.x-k8s.io", "") is None:
        pytest.skip("Kueue is not installed on this cluster")
    quotas = {"cpu": "64", "memory": "64Gi", GPU: 1}
    flavor = {"name": "any", "resources": [{"name": name, "nominalQuota": quota} for name, quota in quotas.items()]}
    kueue = "kueue.x-k8s.io/v1beta1"
    apply(
        {"apiVersion": kueue, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
        {
            "apiVersion": kueue,
            "kind": "ClusterQueue",
            "metadata": {"name": "one-gpu"},
            "spec": {
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{"coveredResources": list(quotas), "flavors": [flavor]}],
            },
        },
        {
            "apiVersion": kueue,
            "kind": "LocalQueue",
            "metadata": {"name": "gpus", "namespace": SHOP},
            "spec": {"clusterQueue": "one-gpu"},
        },
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": URGENT},
            "value": 1000,
        },
        queue_profile("queued"),
        queue_profile("urgent", priorityClassName=URGENT),
    )
    return "gpus"


@pytest.mark.timeout(900)
def test_each_gets_its_turn_and_a_preemption_does_not_count(one_gpu: str, figure: Callable[[str], None]) -> None:
    began = time.monotonic()
    first = create("kueue-first", profile="queued", tuning={"steps": 500})
    running_pod(first)
    others = [create(f"kueue-{which}", profile="queued") for which in ("second", "third")]
    for other in others:
        waits = waiting(other, "Pending")
        assert f"insufficient unused quota for {GPU}" in waits["message"]
        assert "wait for its turn" in waits["nextStep"]

    urgent = create("kueue-urgent", profile="urgent")
    waits = waiting(first, "Preempted")
    assert "to accommodate a workload" in waits["message"]
    assert "does not count as a retry" in waits["nextStep"]
    ends = {name: succeeded(name, seconds=400)["status"] for name in (urgent, first, *others)}
    assert [attempt["reason"] for attempt in ends[first]["attempts"]] == ["Preempted", "Tuned"]
    for name in (urgent, *others):
        assert [attempt["reason"] for attempt in ends[name]["attempts"]] == ["Tuned"]
    runs = sorted(times_of_job(name) for name in ends)
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(runs)), runs
    figure(f"one GPU, 4 Personalizations, 1 preemption: all Succeeded after {time.monotonic() - began:.0f} s")


def test_a_queue_that_is_not_there_is_told_in_kueues_words(one_gpu: str) -> None:
    changed = queue_profile("no-queue")
    changed["spec"]["queueName"] = "nowhere"
    apply(changed)
    name = create("kueue-nowhere", profile="no-queue")
    waits = waiting(name, "Inadmissible")
    assert "nowhere" in waits["message"]
    assert "LocalQueue" in waits["nextStep"]
    assert read(name)["status"]["conditions"][0]["reason"] == "Inadmissible"
    kubectl("-n", SHOP, "delete", "pz", name)


def times_of_job(name: str) -> tuple[str, str]:
    """When the Job was last started and when it was complete."""
    (job,) = jobs_of(name)
    return job["status"]["startTime"], job["status"]["completionTime"]
