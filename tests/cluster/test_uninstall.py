"""The chart goes and comes back; the resources stay and are served again."""

from __future__ import annotations

from kube import fetch, run, wait_for
from shop import SYSTEM, create, install_chart, read, succeeded


def test_uninstalling_keeps_the_resources_and_installing_again_serves_them(shop: str) -> None:
    before = succeeded(create())
    run("helm", "-n", SYSTEM, "uninstall", "likeness", "--wait")
    assert fetch("deployment", "likeness-operator", SYSTEM) is None
    name = create()
    install_chart()
    assert read(before["metadata"]["name"]) == before
    succeeded(name)


def test_the_operator_comes_back_after_its_pod_is_deleted(shop: str) -> None:
    run("kubectl", "-n", SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/component=operator")
    name = create()
    wait_for(f"a status of {name}", lambda: read(name).get("status"), seconds=60)
    succeeded(name)
