from __future__ import annotations

import asyncio
from argparse import Namespace
from typing import Any

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


def play(server: ApiStub, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs the hook; the calls it made."""

    async def run() -> None:
        async with server.serving():
            monkeypatch.setattr(uninstall, "log_in", lambda: uninstall_login(server.url))
            await uninstall.run_hook(OPTIONS)

    asyncio.run(run())
    return server.calls


def uninstall_login(url: str) -> Any:
    import kopf

    return kopf.ConnectionInfo(server=url)


def test_our_finalizer_goes_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ApiStub()
    server.put(f"{STUDIO}/a", a_subject("a", "likeness.dev/erase"))
    server.put(f"{STUDIO}/b", a_subject("b", "somebody/else", "likeness.dev/erase"))
    server.put(f"{STUDIO}/c", a_subject("c", "somebody/else"))
    calls = play(server, monkeypatch)
    left = [server.objects[f"{STUDIO}/{name}"]["metadata"]["finalizers"] for name in "abc"]
    assert left == [[], ["somebody/else"], ["somebody/else"]]
    assert f"PATCH {STUDIO}/c" not in calls


def test_the_operators_are_stopped_first_and_the_lease_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ApiStub()
    server.put(
        LEASE, {"metadata": {"name": "likeness-operator", "namespace": "system"}, "spec": {"holderIdentity": ""}}
    )
    server.put(f"{STUDIO}/a", a_subject("a", "likeness.dev/erase"))
    calls = play(server, monkeypatch)
    order = [calls.index(call) for call in (f"PATCH {SCALE}", f"PUT {LEASE}", f"PATCH {STUDIO}/a")]
    assert order == sorted(order)
    assert server.objects[LEASE]["spec"]["holderIdentity"] == ""
