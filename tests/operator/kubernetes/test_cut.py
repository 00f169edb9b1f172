from __future__ import annotations

import json
from typing import Any

import pytest

from likeness_operator.kubernetes.cut import LONGEST_TEXT, MOST_NAMES, cut, parse_list, parse_object
from likeness_operator.kubernetes.job import LONGEST_ANNOTATION, read_job
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pod import read_pod

FLOOD = {f"flood.example/{number}": "x" * 60 for number in range(5000)}
OURS = {"likeness.dev/personalization": "a", "likeness.dev/profile": "sd15"}
CONTROLLER = {"kind": "Job", "name": "j", "uid": "j", "controller": True}


def an_object(**parts: Any) -> K8sObject:
    metadata = {
        "name": "a",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-11-23T12:00:00Z",
        "finalizers": ["likeness.dev/erase", "somebody/else"],
        "labels": FLOOD | OURS,
        "annotations": FLOOD | {"likeness.dev/token": "<a>"},
        "ownerReferences": [{"kind": "Other", "uid": f"o{number}"} for number in range(5000)] + [CONTROLLER],
        "managedFields": [{"fieldsV1": {"f:metadata": {f"f:{name}": {} for name in FLOOD}}}],
    }
    return {"apiVersion": "v1", "kind": "Any", "metadata": metadata, **parts}


def a_pod(**status: Any) -> K8sObject:
    side = [{"name": f"side{number}", "image": "x" * 100} for number in range(1000)]
    ours = {"name": "tuner", "env": [{"name": "A", "value": "b" * 100_000}], "resources": {"limits": {"memory": "1Gi"}}}
    return an_object(spec={"containers": [*side, ours], "volumes": side}, status={"phase": "Running", **status})


def a_job() -> K8sObject:
    return an_object(spec={"suspend": True, "template": {"spec": a_pod()["spec"]}}, status={"ready": 0})


@pytest.mark.parametrize(
    "manifest", [an_object(spec={"profile": "sd15"}), a_job(), a_pod()], ids=["ours", "a Job", "a pod"]
)
def test_what_nobody_reads_is_not_kept(manifest: K8sObject) -> None:
    assert len(json.dumps(cut(manifest))) < 1500


def test_what_is_read_of_any_object_is_the_same_after_the_cut() -> None:
    manifest = an_object(spec={"profile": "sd15"}, status={"conditions": []})
    kept = cut(manifest)
    assert kept["metadata"]["labels"] == OURS
    assert kept["metadata"]["annotations"] == {"likeness.dev/token": "<a>"}
    assert kept["metadata"]["ownerReferences"] == [CONTROLLER]
    for name in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "finalizers"):
        assert kept["metadata"][name] == manifest["metadata"][name]
    assert {name: kept[name] for name in ("spec", "status")} == {name: manifest[name] for name in ("spec", "status")}
    assert cut(kept) == kept


def test_the_facts_about_jobs_and_pods_are_the_same_after_the_cut() -> None:
    ended = {"name": "tuner", "state": {"terminated": {"exitCode": 137, "message": "m", "reason": "OOMKilled"}}}
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    pod = a_pod(containerStatuses=[{"name": "side0"}, ended], conditions=[disrupted], phase="Failed", reason="Evicted")
    assert read_pod(cut(pod)) == read_pod(pod)
    assert read_pod(pod).memory_limit == "1Gi"
    assert read_job(cut(a_job())) == read_job(a_job())


def test_no_text_of_a_pod_or_a_job_is_kept_beyond_its_bound() -> None:
    long = "x" * 100_000
    pod = read_pod(a_pod(containerStatuses=[{"name": "tuner", "state": {"waiting": {"reason": "A", "message": long}}}]))
    assert len(pod.waiting_message) == LONGEST_TEXT
    manifest = a_job()
    manifest["metadata"]["annotations"] = {f"likeness.dev/a{number}": long for number in range(100)}
    manifest["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "A", "message": long}]}
    job = read_job(cut(manifest))
    assert [len(value) for _, value in job.annotations] == MOST_NAMES * [LONGEST_ANNOTATION]
    assert len(job.failure_message) == LONGEST_TEXT
    assert 30_000 < job.bytes_held < 50_000


@pytest.mark.parametrize("order", [("metadata", "items"), ("items", "metadata")], ids=["built in", "our kinds"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["dense", "spaced"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_has_the_objects_that_each_have_alone(
    order: tuple[str, str], separators: tuple[str, str], count: int
) -> None:
    tricky = '], "items":["'
    objects = [an_object(spec={"number": number, "text": tricky}) for number in range(count)]
    parts = {"metadata": {"continue": "next", "resourceVersion": "9"}, "items": objects}
    document = json.dumps({part: parts[part] for part in order}, separators=separators)
    assert parse_list(document) == ([parse_object(json.dumps(each)) for each in objects], "next")


@pytest.mark.parametrize(
    "document", ['{"items":null,"metadata":{}}', '{"items":[],"metadata":null}', '{"metadata":{}}']
)
def test_a_list_of_nothing_is_empty(document: str) -> None:
    assert parse_list(document) == ([], "")
