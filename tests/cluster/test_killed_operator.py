"""The operator is killed (SIGKILL) after each of its calls in turn and started again: one Job, the right end."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from killing_proxy import KillingProxy
from kube import apply, kubectl, true_conditions
from likeness_api.reason import Reason
from outside import upstream
from shop import SHOP, SYSTEM, acted, create, finished, jobs_of, pods_of, read

MOST_CALLS = 40
"""Far more than one life takes: a test that gets there has found an operator that goes round in circles."""


@pytest.fixture(scope="module")
def without_operator(shop: str) -> Iterator[None]:
    """The chart's own operator is away meanwhile; its service account and rights stay."""
    deployment = ("-n", SYSTEM, "scale", "deployment/likeness-operator")
    kubectl(*deployment, "--replicas=0")
    kubectl("-n", SYSTEM, "wait", "pod", "-l", "app.kubernetes.io/component=operator", "--for=delete", "--timeout=60s")
    yield
    kubectl(*deployment, "--replicas=2")
    kubectl("-n", SYSTEM, "rollout", "status", "deployment/likeness-operator", "--timeout=120s")


@pytest.fixture(scope="module")
def server(without_operator: None) -> tuple[str, ssl.SSLContext]:
    """The API server's address and how to trust it."""
    return upstream()


class Operator:
    """Starts `likeness-operator` as the chart's service account, behind a proxy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = kubectl("-n", SYSTEM, "create", "token", "likeness-operator", "--duration=1h").strip()

    def start(self, url: str) -> subprocess.Popen[bytes]:
        named = {"name": "it"}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [named | {"cluster": {"server": url}}],
            "users": [named | {"user": {"token": self._token}}],
            "contexts": [named | {"context": {"cluster": "it", "user": "it"}}],
        }
        path = self._folder / "kubeconfig"
        path.write_text(json.dumps(kubeconfig))
        program = Path(sys.executable).parent / "likeness-operator"
        command = [str(program), "--kubeconfig", str(path), "--probe-port=0", "--log-format=text", "--namespace", SHOP]
        with (self._folder / "operator.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("reason", "writes_only"),
    [
        pytest.param(Reason.TUNED, False, id="every-call-of-a-success"),
        pytest.param(Reason.TUNED, True, id="every-write-of-a-success"),
        pytest.param(Reason.IMAGE_UNREADABLE, True, id="every-write-of-a-failure"),
    ],
)
def test_killed_after_any_call_it_makes_one_job_and_says_the_right_end(
    server: tuple[str, ssl.SSLContext], tmp_path: Path, figure: Callable[[str], None], reason: Reason, writes_only: bool
) -> None:
    apply(acted(reason))
    operator = Operator(tmp_path)
    seen = []
    for kill_at in range(1, MOST_CALLS):
        name = create(
            f"killed-{'write' if writes_only else 'call'}-{reason.lower()}-{kill_at}", profile=f"act-{reason.lower()}"
        )
        proxy = KillingProxy(*server, subject=f"/personalizations/{name}", kill_at=kill_at, writes_only=writes_only)
        with proxy.serving():
            proxy.victim = operator.start(proxy.url)
            assert live_through(proxy, operator, name) == reason
        assert [path for path in proxy.created if path.endswith("/jobs")] == [f"/apis/batch/v1/namespaces/{SHOP}/jobs"]
        (job,) = jobs_of(name)
        (_,) = pods_of(name)
        assert finished(name)["status"]["jobRef"]["uid"] == job["metadata"]["uid"]
        if not proxy.killed_at:
            break
        seen.append(proxy.killed_at.replace(name, "NAME"))
    figure(f"killed after each of {len(seen)} calls:\n  " + "\n  ".join(seen))
    assert any(call.startswith("POST") for call in seen)
    assert any(call.startswith("PUT") for call in seen) or not writes_only
    assert not proxy.killed_at


def live_through(proxy: KillingProxy, operator: Operator, name: str) -> str:
    """Starts the operator again when it is killed. Returns the reason that the Personalization ends with."""
    running = proxy.victim
    assert running is not None
    try:
        for _ in range(600):
            ended = {"Succeeded", "Failed"} & true_conditions(read(name)).keys()
            time.sleep(1 if ended else 0.1)  # after the end there may be calls yet, an event for example
            if running.poll() is not None:
                assert proxy.killed_at, "the operator ended by itself"
                running = operator.start(proxy.url)
            elif ended:
                return str(true_conditions(read(name))[ended.pop()]["reason"])
        raise TimeoutError(f"{name} did not end")
    finally:
        running.kill()
        running.wait()
