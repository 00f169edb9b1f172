"""Catalogues, on a real cluster: everything good is published, everything broken is told, whatever is killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalogue import batch, batch_jobs, batch_pods, ended, put_manifest, put_pictures, read_batch, results_of
from kube import apply, fetch_all, kubectl, true_conditions, wait_for
from likeness_api.subject_id import folder_name
from likeness_operator.kubernetes.k8s_object import K8sObject
from seaweed import Seaweed
from shop import SHOP

SUBJECTS = 30
BROKEN = ['{"id": "no-images"}', "not json", '{"id": "SKU_00003", "images": ["s3://catalogue/few/00003.png"]}',
          '{"id": "gone", "images": ["s3://catalogue/few/gone.png"]}']  # fmt: skip


@pytest.fixture(scope="module")
def few(shop: str, storage: Seaweed) -> str:
    return put_manifest(storage, "few.jsonl", [*put_pictures(storage, "few", SUBJECTS), *BROKEN])


@pytest.fixture(scope="module")
def done(few: str) -> K8sObject:
    apply(batch("few", few, workers={"min": 1, "max": 2}, maxFailedPercent=50))
    return ended("few")


def test_all_that_is_good_is_published_and_all_that_is_broken_is_told(
    done: K8sObject, storage: Seaweed, figure: Callable[[str], None]
) -> None:
    status = done["status"]
    figure(f"{SUBJECTS} subjects from {status['startTime']} to {status['completionTime']}")
    assert "Succeeded" in true_conditions(done), status
    assert status["counts"] == {
        "total": SUBJECTS + 4, "succeeded": SUBJECTS, "skipped": 0, "failed": 4, "running": 0, "pending": 0,
    }  # fmt: skip
    reasons = {each["reason"]: each["count"] for each in status["failures"]}
    assert reasons == {"InvalidLine": 2, "DuplicateId": 1, "SourceNotFound": 1}
    lines = results_of(storage, "few")
    assert [line["line"] for line in lines] == list(range(1, SUBJECTS + 5))
    for line in lines:
        if line["outcome"] == "Succeeded":
            key = line["folder"].removeprefix("s3://artifacts/")
            assert storage.keys("artifacts", key), line


def test_a_change_and_a_new_revision_tune_what_changed_alone(done: K8sObject, storage: Seaweed) -> None:
    kept = put_pictures(storage, "few", SUBJECTS)
    put_manifest(storage, "few.jsonl", [*kept[1:], {"id": "new", "images": kept[0]["images"]}])
    kubectl("-n", SHOP, "patch", "pzb", "few", "--type=merge", "-p", '{"spec":{"revision":2}}')
    status = ended("few", revision=2)["status"]
    assert (status["counts"]["succeeded"], status["counts"]["skipped"]) == (1, SUBJECTS - 1)
    assert status["plan"]["removed"] == 1


def test_suspended_it_holds_and_goes_on(shop: str, storage: Seaweed) -> None:
    source = put_manifest(storage, "held.jsonl", put_pictures(storage, "held", 40))
    apply(batch("held", source, workers={"min": 1, "max": 1}))
    wait_for("a worker", lambda: [pod for pod in batch_pods("held") if pod["status"]["phase"] == "Running"], 60)
    kubectl("-n", SHOP, "patch", "pzb", "held", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    wait_for("Suspended", lambda: "Suspended" in true_conditions(read_batch("held")), 60)
    wait_for("no Job is left", lambda: not batch_jobs("held"), 90)
    kubectl("-n", SHOP, "patch", "pzb", "held", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = ended("held")["status"]
    assert status["counts"]["succeeded"] == 40


def homes(storage: Seaweed, prefix: str) -> set[str]:
    """The folders of subjects in the bucket whose id begins so."""
    return {key.split("/")[2] for key in storage.keys("artifacts", f"{SHOP}/{SHOP}/{prefix}")}


def test_with_delete_who_is_removed_is_erased_and_in_the_end_all_are(shop: str, storage: Seaweed) -> None:
    lines = put_pictures(storage, "mortal", 6)
    for line in lines:
        line["id"] = f"mortal-{line['id']}"
    source = put_manifest(storage, "mortal.jsonl", lines)
    apply(batch("mortal", source, deletionPolicy="Delete"))
    ended("mortal")
    assert read_batch("mortal")["metadata"]["finalizers"] == ["likeness.dev/erase"]
    assert len(homes(storage, "mortal-")) == 6
    put_manifest(storage, "mortal.jsonl", lines[1:])
    kubectl("-n", SHOP, "patch", "pzb", "mortal", "--type=merge", "-p", '{"spec":{"revision":2}}')
    ended("mortal", revision=2)
    assert homes(storage, "mortal-") == {folder_name(line["id"]) for line in lines[1:]}
    kubectl("-n", SHOP, "delete", "pzb", "mortal", "--timeout=120s")
    assert homes(storage, "mortal-") == set()
    assert storage.keys("artifacts", f"{SHOP}/{SHOP}/.batches/mortal/") == []
    assert wait_for("the tombstone", lambda: [e for e in fetch_all("events.events.k8s.io", SHOP)
                    if e["reason"] == "Erased" and e["regarding"]["name"] == "mortal"], 10)  # fmt: skip
