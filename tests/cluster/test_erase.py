"""`deletionPolicy: Delete` on a real cluster and a real S3 server: the bytes go, others' stay, nothing is silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from kube import RESTRICTED, apply, fetch, fetch_all, kubectl, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.label import FINALIZER, WATCHED
from seaweed import Seaweed
from shop import SHOP, create, finished, jobs_of, personalization, profile, published_keys, read, running_pod, succeeded

LONG = {"steps": 200}


def delete(name: str, *more: str) -> None:
    kubectl("-n", SHOP, "delete", "pz", name, *more)


def tombstones(name: str, namespace: str = SHOP) -> list[K8sObject]:
    events = json.loads(kubectl("-n", namespace, "get", "events.events.k8s.io", "-o", "json"))["items"]
    return [event for event in events if event["metadata"]["name"].startswith(f"{name}.")]


def not_erased(name: str) -> K8sObject | None:
    """The condition that says why it is still there."""
    said = {condition["type"]: condition for condition in read(name).get("status", {}).get("conditions", [])}
    return said.get("Erased")


def give_up(name: str, namespace: str = SHOP) -> None:
    """The documented way out."""
    kubectl("-n", namespace, "patch", "pz", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_what_was_published_goes_with_it_and_what_others_published_stays(
    shop: str, storage: Seaweed, figure: Callable[[str], None], cascade: str
) -> None:
    kept, name = create(f"kept-{cascade}"), create(f"erased-{cascade}", deletionPolicy="Delete")
    succeeded(kept)
    assert FINALIZER in succeeded(name)["metadata"]["finalizers"]
    watched = kubectl("-n", SHOP, "get", "pz", "-o", "name", f"--field-selector={WATCHED}")
    assert (kept in watched, name in watched) == (False, True)
    others = published_keys(storage, kept)
    assert published_keys(storage, name)
    neighbour = f"{SHOP}/{SHOP}/{name}/notes.txt"
    storage.client().put_object(Bucket="artifacts", Key=neighbour, Body=b"somebody's")
    start = time.monotonic()
    delete(name, f"--cascade={cascade}")
    figure(f"{time.monotonic() - start:.1f} s from kubectl delete to its end")
    assert published_keys(storage, name) == [neighbour]
    assert published_keys(storage, kept) == others
    (event,) = tombstones(name)
    assert (event["type"], event["reason"]) == ("Normal", "Erased")
    assert f"below s3://artifacts/{SHOP}/{SHOP}/{name}/" in event["note"]
    figure(event["note"])
    assert "finalizers" not in read(kept)["metadata"]


def test_a_tune_that_runs_is_ended_first_and_leaves_nothing(shop: str, storage: Seaweed) -> None:
    name = create(deletionPolicy="Delete", tuning=LONG)
    running_pod(name)
    delete(name)
    assert published_keys(storage, name) == []
    tuners = f"likeness.dev/personalization={name},app.kubernetes.io/component=tuner"
    assert fetch_all("pods", SHOP, tuners) == []


def test_a_bucket_that_is_not_there_is_said_with_a_way_out_that_works(shop: str, figure: Callable[[str], None]) -> None:
    storage = profile("")["spec"]["storage"]
    apply(profile("erase-nowhere", storage=storage | {"outputPrefixes": ["s3://not-made"]}))
    name = create(profile="erase-nowhere", output="s3://not-made", deletionPolicy="Delete")
    finished(name)
    delete(name, "--wait=false")
    said = wait_for("a reason", lambda: not_erased(name), seconds=60)
    assert (said["status"], said["reason"]) == ("False", "OutputNotFound")
    figure(read(name)["status"]["waiting"]["nextStep"])
    assert "finalizers" in read(name)["status"]["waiting"]["nextStep"]
    assert "Failed" in true_conditions(read(name))
    give_up(name)
    wait_for("its end", lambda: fetch("pz", name, SHOP) is None, seconds=30)


def test_one_that_is_given_up_takes_its_erase_job_along(shop: str, storage: Seaweed) -> None:
    keys = {"name": "erase-keys-that-are-not-there"}
    name = create(deletionPolicy="Delete", credentialsSecretRef=keys)
    running = f"likeness.dev/personalization={name},app.kubernetes.io/component=eraser"
    wait_for("its Job", lambda: jobs_of(name), seconds=30)
    delete(name, "--wait=false")
    wait_for("its erase Job", lambda: fetch_all("jobs", SHOP, running), seconds=60)
    give_up(name)
    wait_for("the erase Job's end", lambda: not fetch_all("jobs", SHOP, running), seconds=30)


def test_what_is_in_the_way_can_be_put_right(shop: str, storage: Seaweed) -> None:
    apply(profile("erase-later"))
    name = create(profile="erase-later", deletionPolicy="Delete")
    succeeded(name)
    kubectl("delete", "tuningprofile", "erase-later")
    delete(name, "--wait=false")
    said = wait_for("a reason", lambda: not_erased(name), seconds=60)
    assert (said["status"], said["reason"]) == ("False", "ProfileNotFound")
    assert published_keys(storage, name)
    apply(profile("erase-later"))
    wait_for("its end", lambda: fetch("pz", name, SHOP) is None, seconds=60)
    assert published_keys(storage, name) == []


@pytest.mark.parametrize("profile_is", ["there", "gone"])
def test_a_namespace_that_is_deleted_is_not_held_up(shop: str, figure: Callable[[str], None], profile_is: str) -> None:
    """Without the profile there is no erase Job to be made, and so none that the API server could refuse."""
    namespace, its = f"erase-annex-{profile_is}", f"annex-{profile_is}"
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}})
    apply(profile(its))
    subject = personalization("going", profile=its, deletionPolicy="Delete", output=f"s3://artifacts/{namespace}")
    subject["metadata"]["namespace"] = namespace
    apply(subject)
    wait_for("its finalizer", lambda: (fetch("pz", "going", namespace) or {})["metadata"].get("finalizers"), seconds=30)
    if profile_is == "gone":
        kubectl("delete", "tuningprofile", its)
    start = time.monotonic()
    kubectl("delete", "namespace", namespace, "--timeout=120s")
    figure(f"{time.monotonic() - start:.0f} s from kubectl delete namespace to its end")
    (event,) = [each for each in tombstones("going", "default") if each["regarding"]["name"] == namespace]
    assert (event["type"], event["reason"]) == ("Warning", "NamespaceTerminating")
    assert f"s3://artifacts/{namespace}/{namespace}/going/" in event["note"]
