"""Two operators, one Lease: one acts; when it is killed (SIGKILL) or halted (SIGSTOP) the other one does, never both.

Runs on a fake node too: the operators are processes here, with the chart's rights.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from kube import apply, fetch, fetch_all, kubectl, run, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, STUDIO = "likeness-twins", "twins-studio"
RELEASE = "twins"
NAME = f"{RELEASE}-likeness-operator"
USER = f"system:serviceaccount:{SYSTEM}:{NAME}"
FAILOVER_SECONDS = 20
PORTS = (18081, 18082)


class Twin:
    """An operator as a process; its calls are told apart in the audit log by the credential of its token."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        token = kubectl("-n", SYSTEM, "create", "token", NAME, "--duration=1h").strip()
        configuration = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        configuration["users"][0]["user"] = {"token": token}
        path = folder / f"kubeconfig-{port}"
        path.write_text(json.dumps(configuration))
        command = [sys.executable, "-m", "likeness_operator.main", "--kubeconfig", str(path), "--log-format=text"]
        command += [f"--probe-port={port}", f"--lease={SYSTEM}/{NAME}", f"--namespace={STUDIO}"]
        self.log = folder / f"log-{port}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def metric(self, name: str) -> str | None:
        command = ["curl", "-sf", f"http://127.0.0.1:{self.port}/metrics"]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return next((line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")), None)

    def leads(self) -> bool:
        return self.metric("likeness_leader") == "1.0"

    def ready(self) -> bool:
        command = ["curl", "-sf", f"http://127.0.0.1:{self.port}/readyz"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def rights() -> Iterator[None]:
    """The chart's, for two processes; the operator that other tests installed serves everybody: it is away."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no disposable cluster: KUBECONFIG is not set")
    deployment = ("-n", "likeness-system", "scale", "deployment/likeness-operator")
    found = fetch("deployment", "likeness-operator", "likeness-system")
    if found:
        kubectl(*deployment, "--replicas=0")
        pods = ("pod", "-l", "app.kubernetes.io/component=operator")
        kubectl("-n", "likeness-system", "wait", *pods, "--for=delete", "--timeout=60s")
    for name in (SYSTEM, STUDIO):
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    chart = str(ROOT / "charts/likeness")
    crds = "crds.install=false" if fetch("crd", "personalizations.likeness.dev", "default") else "crds.install=true"
    sets = ("--set", "replicas=0", "--set", crds, "--set", f"watchNamespaces={{{STUDIO}}}")
    run("helm", "upgrade", "--install", RELEASE, chart, "--namespace", SYSTEM, *sets)
    yield
    run("helm", "uninstall", RELEASE, "--namespace", SYSTEM, "--no-hooks")  # its hook would need an image; none is here
    kubectl("delete", "namespace", STUDIO, SYSTEM)
    if found:
        kubectl(*deployment, f"--replicas={found['spec']['replicas']}")
        kubectl("-n", "likeness-system", "rollout", "status", "deployment/likeness-operator", "--timeout=120s")


@pytest.fixture
def twins(rights: None, tmp_path: Path) -> Iterator[tuple[Twin, Twin]]:
    """The one that leads and the one that stands by."""
    kubectl("-n", SYSTEM, "delete", "lease", NAME, "--ignore-not-found")
    leader = Twin(tmp_path, PORTS[0])
    wait_for("a leader", lambda: leader.leads() and leader.ready(), 60)
    standby = Twin(tmp_path, PORTS[1])
    wait_for("a standby that is ready", standby.ready, 60)
    assert not standby.leads()
    yield leader, standby
    for twin in (leader, standby):
        twin.process.send_signal(signal.SIGCONT)
        twin.process.kill()
        twin.process.wait()


def refused(name: str) -> Callable[[], K8sObject | None]:
    """Creates a Personalization whose profile does not exist; the operator that acts says so in its status."""
    spec = {
        "profile": "nowhere",
        "subject": {"images": [{"uri": "s3://catalogue/a.png"}]},
        "output": "s3://artifacts/a",
    }
    metadata = {"name": name, "namespace": STUDIO}
    apply({"apiVersion": "likeness.dev/v1alpha1", "kind": "Personalization", "metadata": metadata, "spec": spec})

    def look() -> K8sObject | None:
        found = fetch("pz", name, STUDIO)
        return found if found and found.get("status") else None

    return look


def writers() -> list[tuple[datetime, str]]:
    """When which of the two wrote to the studio's Personalizations, by the audit log."""
    path = os.environ.get("LIKENESS_TEST_AUDIT_LOG")
    if not path:
        pytest.skip("this cluster's audit log is not known: set LIKENESS_TEST_AUDIT_LOG")
    found = []
    for line in Path(path).read_text().splitlines():
        event = json.loads(line)
        on = event.get("objectRef", {})
        if event["user"]["username"] == USER and event["verb"] == "update" and on.get("namespace") == STUDIO:
            who = event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
            found.append((datetime.fromisoformat(event["requestReceivedTimestamp"]), who))
    return sorted(found)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_one_acts_soon_and_never_two(
    twins: tuple[Twin, Twin], figure: Callable[[str], None], how: signal.Signals
) -> None:
    leader, standby = twins
    wait_for("a status by the leader", refused(f"before-{how.name.lower()}"), 30)
    began = time.monotonic()
    leader.process.send_signal(how)
    wait_for("a status by the other one", refused(f"after-{how.name.lower()}"), FAILOVER_SECONDS)
    took = time.monotonic() - began
    figure(f"{how.name} of the leader: the other one had acted after {took:.1f} s")
    assert standby.leads()
    leader.process.send_signal(signal.SIGCONT)
    if how is signal.SIGSTOP:
        assert leader.process.wait(timeout=60) == 1, leader.log.read_text()
        assert "another one took it" in leader.log.read_text()
    wait_for("one more status", refused(f"later-{how.name.lower()}"), 30)
    assert len(fetch_all("pz", STUDIO)) >= 3
    in_turn = [who for _, who in writers()]
    changes = sum(one != other for one, other in pairwise(in_turn))
    assert changes <= len(set(in_turn)) - 1, "an operator wrote after another one had taken over"
