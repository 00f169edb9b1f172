"""The chart goes and comes back; the resources stay and are served again."""

from __future__ import annotations

from kube import fetch, fetch_all, kubectl, run, wait_for
from seaweed import Seaweed
from shop import SHOP, SYSTEM, create, install_chart, published_keys, read, succeeded


def test_uninstalling_keeps_the_resources_and_installing_again_serves_them(shop: str) -> None:
    before = succeeded(create())
    run("helm", "-n", SYSTEM, "uninstall", "likeness", "--wait")
    assert fetch("deployment", "likeness-operator", SYSTEM) is None
    name = create()
    install_chart()
    assert read(before["metadata"]["name"]) == before
    succeeded(name)


def test_uninstalling_takes_the_finalizers_off_and_installing_again_puts_them_on(shop: str, storage: Seaweed) -> None:
    gone, stays = create(deletionPolicy="Delete"), create(deletionPolicy="Delete")
    succeeded(gone)
    assert succeeded(stays)["metadata"]["finalizers"]
    run("helm", "-n", SYSTEM, "uninstall", "likeness", "--wait")
    assert [pz for pz in fetch_all("pz", SHOP) if pz["metadata"].get("finalizers")] == []
    assert fetch_all("serviceaccounts", SYSTEM, "app.kubernetes.io/instance=likeness") == []
    kubectl("-n", SHOP, "delete", "pz", gone, "--timeout=20s")
    assert published_keys(storage, gone)
    install_chart()
    wait_for("the finalizer", lambda: read(stays)["metadata"].get("finalizers"), seconds=60)
    kubectl("-n", SHOP, "delete", "pz", stays, "--timeout=60s")
    assert published_keys(storage, stays) == []


def test_the_operator_comes_back_after_its_pod_is_deleted(shop: str) -> None:
    run("kubectl", "-n", SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/component=operator")
    name = create()
    wait_for(f"a status of {name}", lambda: read(name).get("status"), seconds=60)
    succeeded(name)
