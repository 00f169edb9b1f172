"""Whom a profile is for, as the operator finds out with the chart's rights alone."""

from __future__ import annotations

import pytest

from kube import apply, kubectl, wait_for
from likeness_api.reason import Reason
from shop import SHOP, acted, create, read, succeeded


def waits_for(name: str) -> str:
    return str(read(name).get("status", {}).get("waiting", {}).get("reason", ""))


@pytest.mark.parametrize("allowed", [{"names": ["somebody-else"]}, {"selector": {"matchLabels": {"tier": "gold"}}}])
def test_who_is_not_admitted_waits_and_goes_on_once_the_profile_admits(shop: str, allowed: dict[str, object]) -> None:
    profile = acted(Reason.TUNED, allowedNamespaces=allowed)
    profile["metadata"]["name"] = "audience"
    apply(profile)
    name = create(profile="audience")
    wait_for("the reason", lambda: waits_for(name) == "ProfileNotAllowed", 30)
    assert SHOP in read(name)["status"]["waiting"]["message"]
    names: dict[str, object] = {"names": [SHOP]}
    profile["spec"]["allowedNamespaces"] = names
    apply(profile)
    succeeded(name)


def test_a_label_admits(shop: str) -> None:
    kubectl("label", "namespace", SHOP, "likeness-test-tier=gold", "--overwrite")
    profile = acted(Reason.TUNED, allowedNamespaces={"selector": {"matchLabels": {"likeness-test-tier": "gold"}}})
    profile["metadata"]["name"] = "audience-by-label"
    apply(profile)
    succeeded(create(profile="audience-by-label"))
