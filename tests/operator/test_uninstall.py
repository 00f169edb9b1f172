from __future__ import annotations

from argparse import Namespace
from typing import Any

import kopf
import pytest

from api_stub import ApiStub
from likeness_operator import uninstall
from likeness_operator.kubernetes.lease import LeaseName

STUDIO = "/apis/likeness.dev/v1alpha1/namespaces/studio/personalizations"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/system/leases/likeness-operator"
SCALE = "/apis/apps/v1/namespaces/system/deployments/likeness-operator/scale"
OPTIONS = Namespace(operator=LeaseName("system", "likeness-operator"), namespace=["studio"])


def a_subject(name: str, *finalizers: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "studio", "finalizers": list(finalizers)}, "spec": {}}


@pytest.fixture(autouse=True)
def login(server: ApiStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uninstall, "log_in", lambda: kopf.ConnectionInfo(server=server.url))


async def test_our_finalizer_goes_and_others_stay(server: ApiStub) -> None:
    server.put(f"{STUDIO}/a", a_subject("a", "likeness.dev/erase"))
    server.put(f"{STUDIO}/b", a_subject("b", "somebody/else", "likeness.dev/erase"))
    server.put(f"{STUDIO}/c", a_subject("c", "somebody/else"))
    await uninstall.run_hook(OPTIONS)
    left = [server.objects[f"{STUDIO}/{name}"]["metadata"]["finalizers"] for name in "abc"]
    assert left == [[], ["somebody/else"], ["somebody/else"]]
    assert f"PATCH {STUDIO}/c" not in server.calls


async def test_the_operators_are_stopped_first_and_the_lease_is_given_back(server: ApiStub) -> None:
    server.put(
        LEASE, {"metadata": {"name": "likeness-operator", "namespace": "system"}, "spec": {"holderIdentity": ""}}
    )
    server.put(f"{STUDIO}/a", a_subject("a", "likeness.dev/erase"))
    await uninstall.run_hook(OPTIONS)
    order = [server.calls.index(call) for call in (f"PATCH {SCALE}", f"PUT {LEASE}", f"PATCH {STUDIO}/a")]
    assert order == sorted(order)
    assert server.objects[LEASE]["spec"]["holderIdentity"] == ""
